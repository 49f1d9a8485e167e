// Whatever comes from the index is put into the page as text, never as HTML.
const ui = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const BONES = 8, FIRST = 12, SMALL = 160;

const uploads = new Map();  // by key, for the Back button: an address can't hold a file
let medium = null;          // {file, key} that is searched by
let wanted = FIRST;         // how many results
let hits = [], current = -1; // the results, and the one that arrows move from
let running = null;         // AbortController of the search that runs
let playing = null;         // {video, base, last}: base is the second of the file where the video starts
let limits = { text: 1000, upload: 64 * 2 ** 20, topk: 100 }, version = null;

function element(name, className = "", text = null) {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

function button(text, action) {
  const node = Object.assign(element("button", "", text), { type: "button" });
  node.addEventListener("click", action);
  return node;
}

/** 75.25 as 1:15.2, and whole seconds without the tenths. */
function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6), whole = Math.floor(tenths / 10);
  const hours = Math.floor(whole / 3600), two = (value) => String(value % 60).padStart(2, "0");
  const minutes = Math.floor(whole / 60), start = hours ? `${hours}:${two(minutes)}` : minutes;
  return `${start}:${two(whole)}${tenths % 10 ? `.${tenths % 10}` : ""}`;
}

const number = (value) => value.toLocaleString("en");
const counted = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;
const lasting = (seconds) => (seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`);
const within = (value) => `${100 * Math.min(1, Math.max(0, value))}%`;
const place = (hit, time) => within(hit.end > hit.start ? (time - hit.start) / (hit.end - hit.start) : 0.5);
const kind = () => ui.form.elements.kind.value;

async function ask(address, options = {}) {
  const reply = await fetch(address, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `uniadapter serve` still running?");
  });
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw new Error(body?.message ?? `The server answered with status ${reply.status}.`);
  return body;
}

function show(state) {
  document.body.dataset.state = state;
  for (const name of ["empty", "none", "error"]) ui[name].hidden = state !== name;
  ui.main.setAttribute("aria-busy", String(state === "loading"));
  if (state !== "results" && state !== "loading") ui.results.replaceChildren();
  ui.summary.textContent = state === "loading" ? "Searching …" : "";
  ui.more.hidden = true;
}

async function loadStatus() {
  const [status, folders] = await Promise.all([ask("/api/status"), ask("/api/folders")]);
  ({ version, limits } = status);
  ui.text.maxLength = limits.text;
  const files = `${counted(status.videos, "video", "videos")} and ${counted(status.images, "picture", "pictures")}`;
  const empty = "The index is empty: `uniadapter index FOLDER` fills it.";
  ui.count.textContent = status.videos + status.images ? `${files} are indexed.` : empty;
  ui.examples.replaceChildren(...status.examples.map((text) => {
    const item = element("li");
    item.append(button(text, () => { ui.text.value = text; submit(); }));
    return item;
  }));
  const chosen = ui.folder.value;
  ui.folder.replaceChildren(...folders.map(({ path, videos, images }) => {
    const steps = path.split("/"), depth = path ? steps.length : 0;
    const name = path ? steps.at(-1) : "All folders";
    const option = element("option", "", `${"\u2003".repeat(depth)}${name} (${number(videos + images)})`);
    option.value = path;
    return option;
  }));
  pick(kind(), chosen);
}

/** Choose kind and folder; what is unknown is all. */
function pick(kind, folder) {
  for (const radio of ui.form.elements.kind) radio.checked = radio.value === (["video", "image"].includes(kind) ? kind : "");
  ui.folder.value = folder ?? "";
  if (ui.folder.selectedIndex < 0) ui.folder.selectedIndex = 0;
}

/** What was chosen, and more, as far as it is not empty. */
function filters(more) {
  const all = { ...more, kind: kind(), folder: ui.folder.value };
  return new URLSearchParams(Object.entries(all).filter(([, value]) => value !== ""));
}

function address() {
  const asked = filters({ q: medium ? "" : ui.text.value.trim(), n: wanted === FIRST ? "" : wanted });
  return `/${asked.size ? `?${asked}` : ""}`;
}

/** Search for what the form says, as a new entry of the browser's history. */
function submit(count = FIRST) {
  wanted = count;
  const state = { medium: medium?.key ?? null }, here = location.pathname + location.search;
  const same = address() === here && history.state?.medium === state.medium;
  history[same ? "replaceState" : "pushState"](state, "", address());
  search();
}

/** Search for what the address says. */
function restore() {
  const asked = new URLSearchParams(location.search);
  ui.text.value = asked.get("q") ?? "";
  pick(asked.get("kind"), asked.get("folder"));
  wanted = Math.min(limits.topk, Math.max(1, parseInt(asked.get("n"), 10) || FIRST));
  choose(uploads.get(history.state?.medium) ?? null);
  ui.viewer.close();
  search();
}

async function search() {
  running?.abort();
  const { signal } = (running = new AbortController()), text = ui.text.value.trim();
  document.title = medium?.file.name ?? (text || "Search videos and pictures");
  hits = [];
  if (!medium && !text) return show("empty");
  show("loading");
  ui.results.replaceChildren(...Array.from({ length: BONES }, bone));
  try {
    const found = await ask(...request(text, signal));
    if (signal.aborted) return;
    showResults(found);
    if (found.version !== version) loadStatus().catch(() => {});
  } catch (error) {
    if (signal.aborted) return;
    show("error");
    ui["error-text"].textContent = error.message;
  }
}

function request(text, signal) {
  const topk = wanted;
  if (!medium) return [`/api/search?${filters({ topk, text })}`, { signal }];
  if (medium.file.size > limits.upload) {
    throw new Error(`The file has ${number(medium.file.size)} bytes; ${number(limits.upload)} are allowed.`);
  }
  const body = new FormData();
  body.set("file", medium.file);
  for (const [name, value] of filters({ topk })) body.set(name, value);
  return ["/api/search", { method: "POST", body, signal }];
}

function bone() {
  const item = Object.assign(element("li", "card bone"), { ariaHidden: "true" });
  item.append(element("div", "frame"), element("i"), element("i"));
  return item;
}

function showResults({ hits: found, searched, reranked, seconds }) {
  hits = found;
  current = 0;
  if (!hits.length) {
    show("none");
    const what = { video: "No video is", image: "No picture is" }[kind()] ?? "Nothing is";
    ui["none-text"].textContent = `${what} in the ${ui.folder.value ? `folder ${ui.folder.value}` : "index"}.`;
    ui.clear.hidden = !(kind() || ui.folder.value);
    return;
  }
  show("results");
  const shown = [`The best ${number(hits.length)} of ${number(searched)}`, `query ${lasting(seconds.encode)}`, `nearest ${lasting(seconds.first_stage)}`];
  if (reranked) shown.push(`${number(reranked)} re-ranked in ${lasting(seconds.rerank)}`);
  ui.summary.textContent = shown.join(" · ");
  ui.results.replaceChildren(...hits.map(card));
  ui.more.hidden = hits.length < wanted || searched <= hits.length || wanted >= limits.topk;
}

function fillName(node, path) {
  const slash = path.lastIndexOf("/") + 1;
  node.replaceChildren(element("span", "in", path.slice(0, slash)), path.slice(slash));
}

function fillFacts(list, hit, moment = []) {
  const facts = [["score", hit.score?.toFixed(3)], ["similarity", hit.similarity?.toFixed(3)], ...moment];
  list.replaceChildren(...facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value ?? "–"));
    return pair;
  }));
}

/** Bars at the times of the frames; the lightest and the heaviest of them span the height. */
function fillWeights(box, hit, go, reachable) {
  box.hidden = hit.kind !== "video";
  const strip = Object.assign(element("div", "strip"), { role: "group", ariaLabel: "Weights of the frames" });
  box.replaceChildren(strip, element("span", "", clock(hit.start)), element("span", "", clock(hit.end)));
  const weights = hit.frame_weights.map((weight) => weight ?? 0);
  const least = Math.min(...weights), span = Math.max(...weights) - least;
  const best = hit.frame_times.indexOf(hit.best_moment);
  hit.frame_times.forEach((time, index) => {
    const bar = button("", () => go(time));
    bar.className = index === best ? "best" : "";
    bar.tabIndex = reachable ? 0 : -1;
    bar.title = `${clock(time)}, weight ${(100 * weights[index]).toFixed(1)} %`;
    bar.setAttribute("aria-label", `Play from ${bar.title}${index === best ? ", the best moment" : ""}`);
    bar.style.left = place(hit, time);
    bar.style.setProperty("--tall", `${span > 0 ? 20 + 72 * (weights[index] - least) / span : 60}%`);
    strip.append(bar);
  });
  return strip;
}

// Pictures of few pixels stay sharp when they are enlarged.
const sharpen = (node, width) => node.classList.toggle("small", width < SMALL);

function card(hit, index) {
  const item = ui.card.content.firstElementChild.cloneNode(true);
  const open = item.querySelector(".open"), picture = item.querySelector("img");
  const video = hit.kind === "video";
  open.tabIndex = index === current ? 0 : -1;
  open.setAttribute("aria-label", `${index + 1}: ${video ? "Play" : "Show"} ${hit.path}${video ? ` from ${clock(hit.best_moment)}` : ""}`);
  open.addEventListener("click", () => view(index));
  open.addEventListener("focus", () => mark(index));
  picture.addEventListener("error", () => picture.classList.add("broken"));
  picture.addEventListener("load", () => sharpen(picture, picture.naturalWidth));
  picture.src = hit.thumb;
  item.querySelector(".play").hidden = !video;
  item.querySelector(".rank").textContent = index + 1;
  item.querySelector(".moment").textContent = video ? clock(hit.best_moment) : "picture";
  fillName(item.querySelector(".name"), hit.path);
  fillFacts(item.querySelector(".facts"), hit);
  fillWeights(item.querySelector(".weights"), hit, (time) => view(index, time), false);
  return item;
}

const openers = () => [...ui.results.querySelectorAll(".open")];
function mark(index) {
  current = index;
  openers().forEach((node, at) => { node.tabIndex = at === index ? 0 : -1; });
}

function move(step) {
  const nodes = openers();
  const inside = nodes.includes(document.activeElement);
  nodes[inside ? Math.min(nodes.length - 1, Math.max(0, current + step)) : current]?.focus();
}

function stop() {
  ui.screen.replaceChildren();
  // What is no longer seen is no longer loaded.
  playing?.video.removeAttribute("src");
  playing?.video.load();
  playing = null;
  ui["viewer-error"].hidden = true;
}

/** Say why a file can't be shown: in the server's words, if it has some. */
async function fail(url) {
  const reply = await fetch(url, { headers: { Range: "bytes=0-0" } }).catch(() => null);
  const said = reply?.ok === false ? await reply.json().catch(() => null) : null;
  ui["viewer-error"].textContent = said?.message ?? (reply ? "This browser can't show it." : "The server does not answer.");
  ui["viewer-error"].hidden = false;
}

function view(index, time) {
  const hit = hits[index];
  mark(index);
  stop();
  fillName(ui["viewer-name"], hit.path);
  fillFacts(ui["viewer-facts"], hit, hit.kind === "video" ? [["best moment", clock(hit.best_moment)]] : []);
  const strip = fillWeights(ui["viewer-strip"], hit, seek, true);
  ui.previous.disabled = index === 0;
  ui.next.disabled = index === hits.length - 1;
  if (!ui.viewer.open) ui.viewer.showModal();
  ui.viewer.focus();
  if (hit.kind === "video") play(hit, time ?? hit.best_moment, strip);
  else showPicture(hit);
}

/** Show a picture or a video: as it is, else its preview. */
function load(node, { url, fallback }, second = () => {}) {
  let left = fallback;
  node.addEventListener("error", () => {
    if (!node.isConnected) return;
    if (!left) return fail(url);
    second();
    [node.src, left] = [left, null];
  });
  ui.screen.append(node);
  node.src = url;
}

function showPicture(hit) {
  const picture = Object.assign(element("img"), { alt: hit.path });
  picture.addEventListener("load", () => sharpen(picture, picture.naturalWidth));
  load(picture, hit.play);
}

/** Play a clip from a second of its file; behind the end of the shot it goes on at its start. */
function play(hit, from, strip) {
  const video = Object.assign(element("video"), { controls: true, playsInline: true, preload: "auto" });
  const mine = (playing = { video, base: hit.play.offset, last: null });
  const head = element("span", "head");
  video.setAttribute("aria-label", hit.path);
  video.addEventListener("loadedmetadata", () => { sharpen(video, video.videoWidth); seek(from); });
  video.addEventListener("ended", () => seek(hit.start));
  const follow = () => {
    if (playing !== mine) return;
    const now = video.currentTime + mine.base;
    // Whoever seeks elsewhere by hand may stay there.
    const passed = mine.last !== null && mine.last < hit.end && now >= hit.end && now - mine.last < 1;
    if (passed && hit.end > hit.start) seek(hit.start);
    else mine.last = video.seeking ? null : now;
    head.style.left = place(hit, now);
    requestAnimationFrame(follow);
  };
  strip.append(head);
  load(video, hit.play, () => { mine.base = hit.play.fallback_offset; });
  follow();
}

function seek(time) {
  if (!playing) return;
  const { video, base } = playing;
  playing.last = null;
  video.currentTime = Math.max(0, time - base);
  // Where sound needs a click first, it plays without.
  video.play().catch(() => { video.muted = true; video.play().catch(() => {}); });
}

function choose(file) {
  medium = file instanceof File ? { file, key: `${Date.now()}-${uploads.size}` } : file;
  ui.chosen.hidden = !medium;
  ui.file.value = "";
  if (!medium) return;
  uploads.set(medium.key, medium);
  ui["chosen-name"].textContent = medium.file.name;
  const canvas = ui["chosen-picture"], side = canvas.width, paper = canvas.getContext("2d");
  paper.reset();
  createImageBitmap(medium.file).then((bitmap) => {
    const scale = side / Math.min(bitmap.width, bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    paper.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
  }).catch(() => {});
}

const searchBy = (files) => { if (files?.length) { choose(files[0]); submit(); } };

let dragged = 0;
function dragging(event, step) {
  if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
  event.preventDefault();
  dragged = Math.max(0, dragged + step);
  ui.drop.hidden = !dragged;
}

ui.form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
ui.form.addEventListener("change", (event) => { if (event.target.name === "kind" || event.target === ui.folder) submit(); });
ui.choose.addEventListener("click", () => ui.file.click());
ui.file.addEventListener("change", () => searchBy(ui.file.files));
ui["drop-chosen"].addEventListener("click", () => { choose(null); submit(); ui.text.focus(); });
ui.retry.addEventListener("click", search);
ui.more.addEventListener("click", () => submit(Math.min(limits.topk, 2 * wanted)));
ui.clear.addEventListener("click", () => { pick(); submit(); });
ui.previous.addEventListener("click", () => view(current - 1));
ui.next.addEventListener("click", () => view(current + 1));
ui.close.addEventListener("click", () => ui.viewer.close());
ui.viewer.addEventListener("close", () => { stop(); openers()[current]?.focus(); });
ui.viewer.addEventListener("click", (event) => { if (event.target === ui.viewer) ui.viewer.close(); });
addEventListener("popstate", restore);
for (const [name, step] of Object.entries({ dragenter: 1, dragover: 0, dragleave: -1 })) addEventListener(name, (event) => dragging(event, step));
addEventListener("drop", (event) => { dragging(event, -dragged); searchBy(event.dataTransfer?.files); });
addEventListener("paste", (event) => searchBy(event.clipboardData?.files));

function keyInViewer(event) {
  const target = event.target.localName, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  // In the player's own controls arrows seek.
  if (step && target !== "video" && hits[current + step]) view(current + step);
  else if (event.key === " " && playing && target === "dialog") playing.video.paused ? playing.video.play() : playing.video.pause();
  else return;
  event.preventDefault();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (ui.viewer.open) return keyInViewer(event);
  const typing = event.target.matches("input, select, textarea"), field = event.target === ui.text;
  const row = getComputedStyle(ui.results).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
  if (event.key === "/" && !typing) { ui.text.focus(); ui.text.select(); }
  else if (event.key === "Escape" && !typing) ui.text.focus();
  // Browsers would empty the field.
  else if (event.key === "Escape" && field) ui.text.blur();
  else if (step && hits.length && (!typing || (field && event.key === "ArrowDown"))) move(step);
  else return;
  event.preventDefault();
});

loadStatus().catch((error) => { ui.count.textContent = error.message; }).then(restore);
