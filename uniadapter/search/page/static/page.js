"use strict";

// Whatever comes from the index is put into the page as text, never as HTML.
const ui = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const BONES = 6;
const SMALL = 160;

/** Pictures and videos that were searched by, for the Back button; an address can't hold them. */
const uploads = new Map();
let medium = null;          // {file, key} that is searched by, or null
let hits = [];
let current = -1;           // the result that arrows move from
let running = null;         // AbortController of the search that runs
let limits = { text: 1000, upload: 64 * 2 ** 20, topk: 100 };
let version = null;

/* ---------- small helpers ---------- */

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const minutes = `${Math.floor(whole / 60) % 60}`;
  const rest = String(whole % 60).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const tenths = Math.floor((seconds - whole) * 10 + 1e-6);
  return `${hours ? `${hours}:${minutes.padStart(2, "0")}` : minutes}:${rest}.${tenths}`;
}

const number = (value) => value.toLocaleString("en");
const counted = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;
const milliseconds = (seconds) => `${seconds >= 10 ? seconds.toFixed(1) + " s" : Math.round(seconds * 1000) + " ms"}`;

class Refused extends Error {}

async function ask(address, options = {}) {
  let reply;
  try {
    reply = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is `uniadapter serve` still running?");
  }
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(body?.message ?? `The server answered with status ${reply.status}.`);
  return body;
}

/* ---------- the state of the page ---------- */

function show(state) {
  document.body.dataset.state = state;
  ui.empty.hidden = state !== "empty";
  ui.none.hidden = state !== "none";
  ui.error.hidden = state !== "error";
  ui.main.setAttribute("aria-busy", String(state === "loading"));
  if (state !== "results" && state !== "loading") ui.results.replaceChildren();
  if (state !== "results") ui.summary.textContent = "";
}

async function loadStatus() {
  const [status, folders] = await Promise.all([ask("/api/status"), ask("/api/folders")]);
  version = status.version;
  limits = status.limits;
  ui.text.maxLength = limits.text;
  const videos = counted(status.videos, "video", "videos");
  const images = counted(status.images, "picture", "pictures");
  ui.count.textContent = status.videos + status.images
    ? `${videos} and ${images} are indexed.`
    : "The index is empty: `uniadapter index FOLDER` fills it.";
  ui.examples.replaceChildren(...status.examples.map((text) => {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => { ui.text.value = text; submit(); });
    const item = element("li");
    item.append(button);
    return item;
  }));
  const chosen = ui.folder.value || new URLSearchParams(location.search).get("folder") || "";
  ui.folder.replaceChildren(...folders.map(({ path, videos, images }) => {
    const depth = path ? path.split("/").length : 0;
    const name = path ? path.split("/").pop() : "All folders";
    const option = element("option", "", `${"\u2003".repeat(depth)}${name} (${number(videos + images)})`);
    option.value = path;
    return option;
  }));
  ui.folder.value = chosen;
  if (ui.folder.selectedIndex < 0) ui.folder.selectedIndex = 0;
}

/* ---------- searching ---------- */

const kind = () => ui.form.elements.kind.value;

function address() {
  const asked = new URLSearchParams();
  if (!medium && ui.text.value.trim()) asked.set("q", ui.text.value.trim());
  if (kind()) asked.set("kind", kind());
  if (ui.folder.value) asked.set("folder", ui.folder.value);
  return `/${asked.size ? `?${asked}` : ""}`;
}

function submit() {
  const asked = Boolean(medium || ui.text.value.trim());
  const state = { medium: medium?.key ?? null };
  const same = address() === location.pathname + location.search && history.state?.medium === state.medium;
  history[same ? "replaceState" : "pushState"](state, "", address());
  return asked ? search() : rest();
}

function rest() {
  running?.abort();
  hits = [];
  show("empty");
}

function restore() {
  const asked = new URLSearchParams(location.search);
  ui.text.value = asked.get("q") ?? "";
  ui.form.elements.kind.value = ["video", "image"].includes(asked.get("kind")) ? asked.get("kind") : "";
  ui.folder.value = asked.get("folder") ?? "";
  if (ui.folder.selectedIndex < 0) ui.folder.selectedIndex = 0;
  choose(uploads.get(history.state?.medium) ?? null, false);
  if (ui.viewer.open) ui.viewer.close();
  return ui.text.value || medium ? search() : rest();
}

async function search() {
  running?.abort();
  const mine = running = new AbortController();
  const text = ui.text.value.trim();
  document.title = `${medium ? medium.file.name : text} · search`;
  show("loading");
  ui.summary.textContent = "Searching …";
  ui.results.replaceChildren(...Array.from({ length: BONES }, bone));
  try {
    const found = await ask(...request(text, mine.signal));
    if (mine.signal.aborted) return;
    showResults(found);
    if (found.version !== version) loadStatus().catch(() => {});
  } catch (error) {
    if (error.name === "AbortError" || mine.signal.aborted) return;
    show("error");
    ui["error-text"].textContent = error.message;
  }
}

function request(text, signal) {
  const filters = new URLSearchParams();
  if (kind()) filters.set("kind", kind());
  if (ui.folder.value) filters.set("folder", ui.folder.value);
  if (!medium) {
    filters.set("text", text);
    return [`/api/search?${filters}`, { signal }];
  }
  if (medium.file.size > limits.upload) {
    throw new Refused(`The file has ${number(medium.file.size)} bytes; ${number(limits.upload)} are allowed.`);
  }
  const form = new FormData();
  form.set("file", medium.file);
  for (const [name, value] of filters) form.set(name, value);
  return ["/api/search", { method: "POST", body: form, signal }];
}

function bone() {
  const item = element("li", "card bone");
  item.append(element("div", "frame"), element("i"), element("i"));
  item.setAttribute("aria-hidden", "true");
  return item;
}

function showResults({ hits: found, searched, seconds }) {
  hits = found;
  current = hits.length ? 0 : -1;
  if (!hits.length) {
    show("none");
    const where = ui.folder.value ? `in the folder ${ui.folder.value}` : "in the index";
    const what = { video: "No video is", image: "No picture is" }[kind()] ?? "Nothing is";
    ui["none-text"].textContent = `${what} ${where}.`;
    ui.clear.hidden = !(kind() || ui.folder.value);
    return;
  }
  show("results");
  const stages = [["query", seconds.encode], ["nearest", seconds.first_stage]];
  if (seconds.rerank > 0) stages.push(["re-ranked", seconds.rerank]);
  const times = stages.map(([name, time]) => `${name} ${milliseconds(time)}`).join(" · ");
  ui.summary.textContent = `The best ${number(hits.length)} of ${number(searched)} · ${times}`;
  ui.results.replaceChildren(...hits.map(card));
}

/* ---------- a result ---------- */

function fillName(node, path) {
  const slash = path.lastIndexOf("/") + 1;
  node.replaceChildren(element("span", "in", path.slice(0, slash)), path.slice(slash));
}

function fillFacts(list, hit, whole) {
  const facts = [["score", hit.score?.toFixed(3)], ["similarity", hit.similarity?.toFixed(3)]];
  if (hit.kind === "video") {
    if (whole) facts.push(["best moment", clock(hit.best_moment)]);
    facts.push(["shot", `${clock(hit.start)} – ${clock(hit.end)}`]);
  }
  list.replaceChildren(...facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value ?? "–"));
    return pair;
  }));
}

/** Bars at the times of the frames; the lightest and the heaviest frame span the strip's height. */
function fillStrip(strip, hit, seek, reachable) {
  strip.hidden = hit.kind !== "video" || !hit.frame_times.length;
  strip.replaceChildren();
  if (strip.hidden) return;
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "Weights of the frames");
  const weights = hit.frame_weights.map((weight) => weight ?? 0);
  const least = Math.min(...weights), span = Math.max(...weights) - least;
  const length = hit.end - hit.start;
  hit.frame_times.forEach((time, index) => {
    const bar = element("button", time === hit.best_moment ? "best" : "");
    const best = time === hit.best_moment ? ", the best moment" : "";
    bar.type = "button";
    bar.tabIndex = reachable ? 0 : -1;
    bar.title = `${clock(time)}, weight ${(100 * weights[index]).toFixed(1)} %`;
    bar.setAttribute("aria-label", `Play from ${bar.title}${best}`);
    bar.style.left = `${length > 0 ? 100 * Math.min(1, Math.max(0, (time - hit.start) / length)) : 50}%`;
    bar.style.setProperty("--tall", `${span > 0 ? 22 + 78 * (weights[index] - least) / span : 60}%`);
    bar.addEventListener("click", () => seek(time));
    strip.append(bar);
  });
}

function card(hit, index) {
  const item = ui.card.content.firstElementChild.cloneNode(true);
  const open = item.querySelector(".open"), picture = item.querySelector("img");
  open.tabIndex = index === current ? 0 : -1;
  open.dataset.index = index;
  const what = hit.kind === "video" ? `Play ${hit.path} from ${clock(hit.best_moment)}` : `Show ${hit.path}`;
  open.setAttribute("aria-label", `${index + 1}: ${what}`);
  open.addEventListener("click", () => view(index));
  open.addEventListener("focus", () => { mark(index); });
  picture.addEventListener("error", () => picture.classList.add("broken"));
  picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < SMALL));
  picture.src = hit.thumb;
  item.querySelector(".play").hidden = hit.kind !== "video";
  item.querySelector(".rank").textContent = index + 1;
  item.querySelector(".moment").textContent = hit.kind === "video" ? clock(hit.best_moment) : "picture";
  fillName(item.querySelector(".name"), hit.path);
  fillFacts(item.querySelector(".facts"), hit, false);
  fillStrip(item.querySelector(".strip"), hit, (time) => view(index, time), false);
  return item;
}

const openers = () => [...ui.results.querySelectorAll(".open")];

function mark(index) {
  current = index;
  openers().forEach((node, place) => { node.tabIndex = place === index ? 0 : -1; });
}

function move(step) {
  const nodes = openers();
  if (!nodes.length) return;
  const inside = nodes.includes(document.activeElement);
  const next = inside ? Math.min(nodes.length - 1, Math.max(0, current + step)) : current;
  mark(next);
  nodes[next].focus();
  nodes[next].scrollIntoView({ block: "nearest" });
}

function columns() {
  return getComputedStyle(ui.results).gridTemplateColumns.split(" ").length;
}

/* ---------- the clip that plays ---------- */

let playing = null;         // {hit, video, base, start, end}

function stop() {
  playing?.video.pause();
  playing?.video.removeAttribute("src");
  playing?.video.load();
  playing = null;
  ui.screen.replaceChildren();
  ui["viewer-error"].hidden = true;
}

async function fail(place) {
  let message = "This browser can't play it.";
  try {
    await ask(place, { headers: { Range: "bytes=0-0" } });
  } catch (error) {
    if (error instanceof Refused && !error.message.startsWith("The server answered")) message = error.message;
  }
  ui["viewer-error"].textContent = message;
  ui["viewer-error"].hidden = false;
}

function view(index, time) {
  const hit = hits[index];
  mark(index);
  stop();
  fillName(ui["viewer-name"], hit.path);
  fillFacts(ui["viewer-facts"], hit, true);
  fillStrip(ui["viewer-strip"], hit, seek, true);
  ui.previous.disabled = index === 0;
  ui.next.disabled = index === hits.length - 1;
  if (!ui.viewer.open) ui.viewer.showModal();
  if (hit.kind === "video") play(hit, time ?? hit.best_moment);
  else showPicture(hit);
}

function showPicture(hit) {
  const picture = element("img");
  picture.alt = hit.path;
  picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < SMALL));
  picture.addEventListener("error", () => {
    if (hit.play.fallback && !picture.src.includes("/preview/")) picture.src = hit.play.fallback;
    else fail(hit.play.fallback ?? hit.play.url);
  });
  picture.src = hit.play.url;
  ui.screen.append(picture);
}

/** Play a clip from a second of its file; behind the end of the shot it goes on at its start. */
function play(hit, from) {
  const { url, fallback, fallback_offset: second, offset } = hit.play;
  const video = element("video");
  Object.assign(video, { controls: true, playsInline: true, preload: "auto" });
  video.setAttribute("aria-label", hit.path);
  playing = { hit, video, base: offset, last: null };
  const head = element("span", "head");
  ui["viewer-strip"].append(head);
  let left = fallback;
  video.addEventListener("error", () => {
    if (playing?.video !== video || !video.hasAttribute("src")) return;
    if (!left) { fail(url); return; }
    playing.base = second;
    video.src = left;
    left = null;
  });
  video.addEventListener("loadedmetadata", () => {
    video.classList.toggle("small", video.videoWidth < SMALL);
    seek(from);
  });
  video.addEventListener("ended", () => seek(hit.start));
  const follow = () => {
    if (playing?.video !== video) return;
    const now = video.currentTime + playing.base;
    // Whoever seeks elsewhere by hand may stay there.
    if (playing.last !== null && playing.last < hit.end && now >= hit.end && hit.end > hit.start && now - playing.last < 1) seek(hit.start);
    playing.last = video.seeking ? null : now;
    const length = hit.end - hit.start;
    head.style.left = `${length > 0 ? 100 * Math.min(1, Math.max(0, (now - hit.start) / length)) : 50}%`;
    requestAnimationFrame(follow);
  };
  requestAnimationFrame(follow);
  video.src = url;
  ui.screen.append(video);
}

function seek(time) {
  if (!playing) return;
  const { video, base } = playing;
  playing.last = null;
  video.currentTime = Math.max(0, time - base);
  // Where sound needs a click first, it plays without.
  video.play().catch(() => { video.muted = true; video.play().catch(() => {}); });
}

/* ---------- a picture or a video to search by ---------- */

function choose(file, ask = true) {
  medium = file instanceof File ? { file, key: `${Date.now()}-${uploads.size}` } : file;
  ui.chosen.hidden = !medium;
  ui.file.value = "";
  if (!medium) return;
  uploads.set(medium.key, medium);
  ui["chosen-name"].textContent = medium.file.name;
  const paper = ui["chosen-picture"].getContext("2d");
  paper.clearRect(0, 0, 72, 72);
  createImageBitmap(medium.file).then((bitmap) => {
    const scale = Math.max(72 / bitmap.width, 72 / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    paper.drawImage(bitmap, (72 - width) / 2, (72 - height) / 2, width, height);
  }).catch(() => {});
  if (ask) submit();
}

let dragged = 0;
const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const dragging = (step) => { dragged = Math.max(0, dragged + step); ui.drop.hidden = !dragged; };

/* ---------- what the user does ---------- */

ui.form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
ui.form.addEventListener("change", (event) => {
  if (event.target.name === "kind" || event.target === ui.folder) submit();
});
ui.choose.addEventListener("click", () => ui.file.click());
ui.file.addEventListener("change", () => { if (ui.file.files.length) choose(ui.file.files[0]); });
ui["drop-chosen"].addEventListener("click", () => { choose(null); submit(); ui.text.focus(); });
ui.retry.addEventListener("click", () => search());
ui.clear.addEventListener("click", () => { ui.form.elements.kind.value = ""; ui.folder.value = ""; submit(); });
ui.previous.addEventListener("click", () => view(current - 1));
ui.next.addEventListener("click", () => view(current + 1));
ui.close.addEventListener("click", () => ui.viewer.close());
ui.viewer.addEventListener("close", () => { stop(); openers()[current]?.focus(); });
ui.viewer.addEventListener("click", (event) => { if (event.target === ui.viewer) ui.viewer.close(); });
addEventListener("popstate", restore);
addEventListener("dragenter", (event) => { if (holdsFiles(event)) dragging(1); });
addEventListener("dragleave", (event) => { if (holdsFiles(event)) dragging(-1); });
addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  dragging(-dragged);
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => { if (event.clipboardData?.files.length) choose(event.clipboardData.files[0]); });

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (ui.viewer.open) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    // In the player's own controls arrows seek.
    if (step && event.target.localName !== "video" && hits[current + step]) { event.preventDefault(); view(current + step); }
    return;
  }
  if (event.key === "/" && !typing) { event.preventDefault(); ui.text.focus(); ui.text.select(); return; }
  if (event.key === "Escape" && !typing) { ui.text.focus(); return; }
  const down = event.target === ui.text && event.key === "ArrowDown";
  if (typing && !down) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (steps[event.key] && openers().length) { event.preventDefault(); move(steps[event.key]); }
});

loadStatus().catch((error) => { ui.count.textContent = error.message; }).then(restore);
