"""Every architecture keeps the contract of muster.models.base.Model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from muster import models
from muster.config import Choice
from muster.inference import repeatable
from muster.models.base import InputShape, Model
from muster.tensors import pack, unpack

SHAPE = InputShape(channels=3, static_features=2, classes=4)
LENGTHS = [9, 4, 1, 7]
STEPS = max(LENGTHS)
# Beside the defaults of each entry: the options that change how padding is met.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "rnn": [{"pooling": "mean"}],
    "lstm": [{"pooling": "attention", "bidirectional": True}],
    "gru": [
        {"layers": 2, "bidirectional": True},
        {"pooling": "mean", "bidirectional": True},
        {"pooling": "attention"},
        {"layers": 3, "layer_norm": True, "bidirectional": True},
    ],
    "cnn": [
        {"pool": False},
        {"kernel": 4},
        {"kernel": 15},
        {"blocks": 2, "dense": 3, "pooling": "max"},
        {"doubling": "each", "dilation": 2, "kernel": 4, "channels": 8},
    ],
    "fcn": [{"channels": 8, "kernel": 15, "pooling": "max"}],
    "resnet": [
        {"channels": 8, "blocks": 2, "convolutions": 2, "pool": True, "squeeze": 2, "dilation": 2},
        {"channels": 8, "kernel": 15, "pooling": "max", "doubling": "never"},
    ],
    "inception_time": [
        {"channels": 4, "depth": 2, "kernel": 6, "bottleneck": 0},
        {"channels": 4, "depth": 4, "kernel": 7, "residual": False, "pooling": "max"},
    ],
    "cnn2d": [
        {"width": 4, "blocks": 2, "squeeze": 8, "dilation": 2},
        {"width": 3, "kernel": 4, "pooling": "max", "blocks": 1},
    ],
    "cnn_rnn": [{"blocks": 2, "pooling": "mean", "layer_norm": True}],
    "cnn_gru": [{"bidirectional": True, "pooling": "attention"}, {"kernel": 4}],
    "resnet_gru": [
        {"blocks": 1, "bidirectional": True, "pooling": "attention", "squeeze": 8},
        {"blocks": 3, "dilation": 2, "layer_norm": False, "pooling": "mean"},
    ],
    "transformer": [{"blocks": 1, "heads": 3, "head_size": 5, "pooling": "max"}],
    "transformer2d": [{"width": 4, "blocks": 1, "squeeze": 0, "kernel": 4}],
}
CASES = [
    pytest.param(Choice(name=name, options=options), id=f"{name}-{options}")
    for name in models.ARCHITECTURES
    for options in [{}, *VARIANTS.get(name, [])]
]
every_architecture = pytest.mark.parametrize("choice", CASES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(choice: Choice, shape: InputShape = SHAPE, *, dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    return models.build(choice, shape, dropout=dropout)


def make_batch(
    lengths: list[int], *, shape: InputShape = SHAPE, steps: int | None = None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """values with zeros behind each end, lengths (None where all are full), static."""
    steps = steps or max(lengths)
    generator = torch.Generator().manual_seed(1)
    longest = torch.randn(len(lengths), STEPS, shape.channels, generator=generator)
    values = torch.zeros(len(lengths), steps, shape.channels)
    for row, length in enumerate(lengths):
        values[row, :length] = longest[row, :length]
    static = torch.randn(len(lengths), shape.static_features, generator=generator)
    is_full = all(length == steps for length in lengths)
    return values, None if is_full else torch.tensor(lengths), static


@every_architecture
def test_logits_have_a_row_a_sequence_and_a_column_a_class(choice: Choice) -> None:
    for lengths in (LENGTHS, [STEPS] * 4):
        logits = make(choice)(*make_batch(lengths))
        assert logits.shape == (4, SHAPE.classes)
        assert logits.isfinite().all()


@every_architecture
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("padding", [1, 8])
def test_padding_never_changes_logits(choice: Choice, is_training: bool, padding: int) -> None:
    model = make(choice).train(is_training)
    plain = model(*make_batch(LENGTHS))
    padded = make(choice).train(is_training)(*make_batch(LENGTHS, steps=STEPS + padding))
    torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-5)


@every_architecture
@pytest.mark.parametrize("is_training", [False, True])
def test_full_sequences_give_the_same_logits_padded_or_not(
    choice: Choice, is_training: bool
) -> None:
    full = make(choice).train(is_training)(*make_batch([STEPS] * 4))
    padded = make(choice).train(is_training)(*make_batch([STEPS] * 4, steps=STEPS + 5))
    torch.testing.assert_close(padded, full, rtol=1e-4, atol=1e-5)


@every_architecture
def test_neighbours_in_the_batch_never_change_logits(choice: Choice) -> None:
    model = make(choice).eval()
    together = model(*make_batch(LENGTHS))
    values, _, static = make_batch(LENGTHS)
    alone = [
        model(values[row : row + 1, :length], None, static[row : row + 1])
        for row, length in enumerate(LENGTHS)
    ]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)


@every_architecture
def test_padding_never_changes_what_is_learnt(choice: Choice) -> None:
    learnt = []
    for padding in (0, 5):
        model = make(choice)
        model(*make_batch(LENGTHS, steps=STEPS + padding)).square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        learnt.append([*gradients, *model.buffers()])
    for plain, padded in zip(*learnt, strict=True):
        torch.testing.assert_close(padded, plain, rtol=1e-3, atol=1e-4)


@every_architecture
def test_gradients_reach_every_parameter(choice: Choice) -> None:
    model = make(choice)
    logits = model(*make_batch(LENGTHS))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


@every_architecture
def test_static_features_change_logits(choice: Choice) -> None:
    model = make(choice).eval()
    values, lengths, static = make_batch(LENGTHS)
    assert not torch.equal(model(values, lengths, static), model(values, lengths, static + 1.0))


@every_architecture
def test_one_seed_gives_the_same_weights_and_logits_to_the_bit(choice: Choice) -> None:
    first, second = make(choice, dropout=0.5), make(choice, dropout=0.5)
    for model in (first, second):
        torch.manual_seed(2)
        model.train()(*make_batch(LENGTHS)).sum().backward()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


@every_architecture
def test_saved_weights_give_the_same_logits_to_the_bit(choice: Choice) -> None:
    model = make(choice)
    model(*make_batch(LENGTHS))
    tensors, _ = unpack(pack(model.state_dict(), {}), what="the model")
    torch.manual_seed(3)
    loaded = models.build(choice, SHAPE, dropout=0.0)
    loaded.load_state_dict(tensors)
    batch = make_batch(LENGTHS)
    assert torch.equal(loaded.eval()(*batch), model.eval()(*batch))


@every_architecture
@pytest.mark.parametrize("length", [1, 2, 9])
def test_one_sequence_alone_is_predicted(choice: Choice, length: int) -> None:
    assert make(choice).eval()(*make_batch([length])).shape == (1, SHAPE.classes)


@every_architecture
@pytest.mark.parametrize("lengths", [[1], [1, 1], [9]])
def test_few_steps_and_a_batch_of_one_are_trained_on(choice: Choice, lengths: list[int]) -> None:
    model = make(choice)
    model(*make_batch(lengths)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_architecture
def test_one_channel_and_no_static_feature_will_do(choice: Choice) -> None:
    shape = InputShape(channels=1, static_features=0, classes=2)
    assert make(choice, shape)(*make_batch(LENGTHS, shape=shape)).shape == (4, 2)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_defaults_are_options_and_strangers_are_named(name: str) -> None:
    assert models.check_options(name, {}) == []
    assert any("wings" in problem for problem in models.check_options(name, {"wings": 2}))
    assert any("dropout" in problem for problem in models.check_options(name, {"dropout": 0.1}))


@every_architecture
def test_bfloat16_gives_about_the_logits_of_float32_whatever_the_padding(choice: Choice) -> None:
    plain = make(choice).eval()(*make_batch(LENGTHS))
    for padding in (0, 5):
        model = make(choice)
        values, lengths, static = make_batch(LENGTHS, steps=STEPS + padding)
        with torch.autocast("cpu", torch.bfloat16):
            halved = model.eval()(values, lengths, static)
            trained = model.train()(values, lengths, static)
        torch.testing.assert_close(halved.float(), plain, rtol=0.05, atol=0.05)
        torch.nn.functional.cross_entropy(trained.float(), torch.tensor([0, 1, 2, 3])).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(each.isfinite().all() for each in gradients)


@pytest.mark.cuda
@every_architecture
def test_a_gpu_gives_the_logits_of_the_host_and_repeats_itself(choice: Choice) -> None:
    expected = make(choice).eval()(*make_batch(LENGTHS))
    gradients = []
    for _ in range(2):
        model = make(choice).cuda()
        values, lengths, static = make_batch(LENGTHS)
        assert lengths is not None
        batch = (values.cuda(), lengths.cuda(), static.cuda())
        with repeatable():
            logits = model.eval()(*batch)
            model.train()(*batch).square().sum().backward()
        torch.testing.assert_close(logits.cpu(), expected, rtol=1e-3, atol=1e-4)
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
