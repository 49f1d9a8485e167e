"""The retrieval losses against a plain reference, and the model's other promises."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.helpers import VOCAB_SIZE, tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, randomize, sgd_steps, tiny_batch, tiny_model
from uniadapter.models.adapters.state import trained_state_dict
from uniadapter.models.heads import matching as matching_module
from uniadapter.structures import MultimodalSample


class PlainBlip:
    """BLIP's contrastive loss with a whole momentum model and a queue of its own."""

    def __init__(self, model, momentum: float) -> None:
        self.teacher, self.momentum = copy.deepcopy(model).eval(), momentum
        self.visual, self.text = model.queue.visual.clone(), model.queue.text.clone()
        self.ids, self.place = model.queue.ids.clone(), 0

    @torch.no_grad()
    def itc(self, model, batch, alpha: float) -> torch.Tensor:
        teacher = trained_state_dict(self.teacher)
        for name, value in trained_state_dict(model).items():
            teacher[name].mul_(self.momentum).add_(value, alpha=1 - self.momentum)
        texts = (batch["input_ids"], batch["attention_mask"])
        image, text = model.encode_visual(batch["pixels"])[1], model.encode_text(*texts)[1]
        image_m = self.teacher.encode_visual(batch["pixels"])[1]
        text_m = self.teacher.encode_text(*texts)[1]
        images, all_texts = torch.cat((image_m, self.visual)), torch.cat((text_m, self.text))
        same = batch["media_ids"][:, None] == torch.cat((batch["media_ids"], self.ids))[None]
        hard = same.float() / same.sum(1, keepdim=True)
        temp, losses = model.temp.clamp(0.001, 0.5), []
        for online, mean, candidates in ((image, image_m, all_texts), (text, text_m, images)):
            soft = F.softmax(mean @ candidates.t() / temp, dim=1)
            target = alpha * soft + (1 - alpha) * hard
            logits = F.log_softmax(online @ candidates.t() / temp, dim=1)
            losses.append(-(logits * target).sum(1).mean())
        for row in range(len(image)):
            self.visual[self.place], self.text[self.place] = image_m[row], text_m[row]
            self.ids[self.place] = batch["media_ids"][row]
            self.place = (self.place + 1) % len(self.ids)
        return sum(losses) / 2


def recorded_pairs(monkeypatch) -> list:
    drawn, draw = [], matching_module.draw_pairs

    def record(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(matching_module, "draw_pairs", record)
    return drawn


@torch.no_grad()
def plain_itm(model, batch, pairs) -> torch.Tensor:
    """Cross-entropy over the pairs, each matched by itself with its own frame weights."""
    tokens, _, frames = model.encode_visual(batch["pixels"])
    text_tokens, text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    sims = model.frame_sims(tokens[:, :, 0], frames, text_tokens[:, 0], text)
    total = torch.zeros(())
    for t, v, label in zip(*pairs, strict=True):
        own = None if sims is None else sims[t, v][None]
        logits = model.match(
            batch["input_ids"][t][None], batch["attention_mask"][t][None], tokens[v][None], own
        )
        total += F.cross_entropy(logits, label[None])
    return total / len(pairs.labels)


@pytest.mark.parametrize(
    "options",
    [
        {"queue_size": 7},
        {"queue_size": 2},
        {"queue_size": 24, "alpha": 0.0, "momentum": 0.5},
        {"pfa": None, "adapter": None},
        {"pfa": {"type": "FrameAwareAttention", "variant": "paper"}},
        {"adapter": adapter_cfg(variant="released", kv_rank=4), "negatives": "own"},
    ],
)
@pytest.mark.parametrize("ids", [[0, 1, 2], [4, 4, 2]])
def test_both_losses_equal_a_plain_reference_over_several_steps(options, ids, monkeypatch):
    options = {"momentum": 0.9, **options}
    model = randomize(tiny_model(**options), std=0.05).train()
    model.on_weights_loaded()
    plain, drawn = PlainBlip(model, options["momentum"]), recorded_pairs(monkeypatch)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2)
    for step in range(5):
        # The last batch is smaller and holds other media.
        size = 3 if step < 4 else 2
        batch = tiny_batch(size=size, seed=step, ids=[i + step for i in ids[:size]])
        model.alpha_scale = min(1.0, step / 3)
        want = plain.itc(model, batch, model.alpha * model.alpha_scale)
        losses = model(**batch, mode="loss")
        torch.testing.assert_close(losses["loss_itc"].detach(), want, atol=1e-5, rtol=1e-5)
        itm = plain_itm(model, batch, drawn[-1])
        torch.testing.assert_close(losses["loss_itm"].detach(), itm, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.queue.visual, plain.visual)
        torch.testing.assert_close(model.queue.text, plain.text)
        assert torch.equal(model.queue.ids, plain.ids)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def test_momentum_averages_trained_tensors_only_and_once_a_step():
    model = randomize(tiny_model(momentum=0.9)).train()
    unused = {n for n in trained_state_dict(model) if n.startswith(("itm_head.", "temp"))}
    assert set(model.ema.averages()) == set(trained_state_dict(model)) - unused
    model.on_weights_loaded()
    before = {name: t.clone() for name, t in model.ema.averages().items()}
    randomize(model, seed=5)
    model(**tiny_batch(), mode="loss")
    for name, average in model.ema.averages().items():
        want = 0.9 * before[name] + 0.1 * model.get_parameter(name).detach()
        torch.testing.assert_close(average, want)


def test_averages_start_from_the_loaded_weights():
    model = randomize(tiny_model())
    model.on_weights_loaded()
    for name, average in model.ema.averages().items():
        assert torch.equal(average, model.get_parameter(name))


def test_pairs_are_positives_and_negatives_of_other_ids(monkeypatch):
    drawn = recorded_pairs(monkeypatch)
    model = tiny_model().train()
    ids = torch.tensor([3, 5, 3, 8, 5, 3])
    for seed in range(5):
        model(**tiny_batch(size=6, seed=seed, ids=ids.tolist()), mode="loss")
        texts, media, labels = drawn[-1]
        assert labels.tolist() == [1] * 6 + [0] * 12
        assert torch.equal(texts[:6], torch.arange(6))
        assert torch.equal(media[:6], torch.arange(6))
        assert (ids[texts[6:]] != ids[media[6:]]).all()
        assert torch.equal(texts[6:12], torch.arange(6))
        assert torch.equal(media[12:], torch.arange(6))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("negatives", ["all", "own"])
def test_a_batch_of_one_id_has_no_negatives_and_still_trains(size, negatives, monkeypatch):
    drawn = recorded_pairs(monkeypatch)
    model = tiny_model(negatives=negatives)
    losses = sgd_steps(model.train(), tiny_batch(size=size, ids=[6] * size))
    assert all(torch.isfinite(loss) for step in losses for loss in step.values())
    assert drawn[-1].labels.tolist() == [1] * size


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_own_rank_negatives_work_with_pfa(variant):
    pfa = {"type": "FrameAwareAttention", "variant": variant}
    losses = sgd_steps(tiny_model(negatives="own", pfa=pfa).train(), tiny_batch(frames=3))
    assert all(torch.isfinite(loss) for step in losses for loss in step.values())


@pytest.mark.parametrize(("value", "clamped"), [(7.0, 0.5), (1e-6, 0.001), (0.2, 0.2)])
def test_the_temperature_is_clamped(value, clamped):
    model = tiny_model(temperature=value).train()
    model(**tiny_batch(), mode="loss")
    torch.testing.assert_close(model.temp.detach(), torch.tensor(clamped))


def test_features_and_tokens_have_the_documented_shapes():
    model, batch = tiny_model(), tiny_batch(size=3, frames=4)
    texts = (batch["input_ids"], batch["attention_mask"])
    tokens, feature, frames = model.encode_visual(batch["pixels"])
    assert tokens.shape == (3, 4, 5, 32)
    assert feature.shape == (3, 16)
    assert frames.shape == (3, 4, 16)
    torch.testing.assert_close(frames.norm(dim=-1), torch.ones(3, 4))
    mean = F.normalize(model.vision_proj(tokens[:, :, 0].mean(1)), dim=-1)
    torch.testing.assert_close(feature, mean)
    text_tokens, text = model.encode_text(*texts)
    assert text_tokens.shape == (3, 6, 32)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(3))
    assert model.match(*texts, tokens).shape == (3, 2)
    assert model.score_texts(tokens[0], *texts).shape == (3,)
    none = torch.zeros(0, 6, dtype=torch.long)
    assert model.score_texts(tokens[0], none, none).shape == (0,)


def test_match_puts_enc_first_and_leaves_the_ids_alone(monkeypatch):
    model, batch = tiny_model().eval(), tiny_batch()
    texts = (batch["input_ids"], batch["attention_mask"])
    tokens = model.encode_visual(batch["pixels"])[0]
    before, want = texts[0].clone(), model.match(*texts, tokens)
    assert torch.equal(texts[0], before)
    assert model.enc_token_id == VOCAB_SIZE - 1
    other = texts[0].clone()
    other[:, 0] = 7
    assert torch.equal(model.match(other, texts[1], tokens), want)


def test_an_image_is_a_video_of_one_frame():
    model, batch = tiny_model().eval(), tiny_batch(frames=1)
    tokens, feature, frames = model.encode_visual(batch["pixels"])
    torch.testing.assert_close(frames[:, 0], feature)
    with pytest.raises(ValueError, match=r"pixels must be \(B, N, 3, H, W\), with N=1 for images"):
        model.encode_visual(batch["pixels"][:, 0])


def test_forward_modes():
    model, batch = tiny_model().eval(), tiny_batch()
    out = model(**batch)
    assert set(out) >= {"visual_tokens", "visual_features", "frame_features", "text_features"}
    features = model.features(batch["pixels"], batch["input_ids"], batch["attention_mask"])
    # Features alone need only the class token of the last layer.
    torch.testing.assert_close(features[0], out["visual_features"])
    torch.testing.assert_close(features[1], out["text_features"])
    samples = [MultimodalSample(metainfo={"media_id": i}) for i in range(3)]
    predicted = model(**batch, data_samples=samples, mode="predict")
    similarity = out["visual_features"] @ out["text_features"].t()
    assert [sample.media_id for sample in predicted] == [0, 1, 2]
    for sample, row in zip(predicted, similarity, strict=True):
        torch.testing.assert_close(sample.similarity, row)
    with pytest.raises(ValueError, match="one data sample a medium: 3 media, 1 samples"):
        model(**batch, data_samples=samples[:1], mode="predict")
    with pytest.raises(ValueError, match="mode='train' is unknown"):
        model(**batch, mode="train")
    with pytest.raises(ValueError, match="mode='loss' needs media_ids and one text a medium"):
        model(batch["pixels"], batch["input_ids"], batch["attention_mask"], mode="loss")


def test_queue_and_averages_are_in_the_checkpoint_of_training():
    state = tiny_model().state_dict()
    assert {"queue.visual", "queue.text", "queue.ids", "queue.ptr", "step"} <= set(state)
    assert any(name.startswith("ema.adapter/") for name in state)
    assert not any(name.startswith(("ema.visual", "ema.text/")) for name in state)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"negatives": "some"}, "negatives='some' is unknown: choose from"),
        ({"queue_size": 0}, "queue_size=0 of a MomentumContrastHead must be at least 1"),
        ({"momentum": 1.5}, r"momentum=1.5 and alpha=0.4 of a .* must be in \[0, 1\]"),
        ({"alpha": -1}, "alpha=-1 of a .* must be in"),
    ],
)
def test_wrong_options_name_key_and_remedy(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(**options)


def test_widths_and_vocabularies_must_agree(tiny_vocab):
    text = tiny_retrieval_cfg()["text"]
    with pytest.raises(ValueError, match="text.encoder_width=48 must be the visual tower's width"):
        tiny_model(text={**text, "encoder_width": 48})
    preprocessor = {
        "type": "MultimodalDataPreprocessor",
        "tokenizer": {"vocab_file": str(tiny_vocab)},
    }
    with pytest.raises(ValueError, match="text.vocab_size=99, but the tokenizer .* make them"):
        tiny_model(text={**text, "vocab_size": 99}, data_preprocessor=preprocessor)
