"""The configuration of one trial: what a search space yields and what training takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


def _averaged_from(value: object) -> object:
    # Configurations of before this had a default of 1.0 say null.
    return 1.0 if value is None else value


class Choice(BaseModel):
    """A named entry of a registry and its options, e.g. gru with hidden=100."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class TrialConfig(BaseModel):
    """Everything that decides one trial, beside the dataset, the folds and the metric.

    window, stride: time steps; window None takes whole sequences, stride None half a window.
    class_weight: power of the inverse class frequency in the loss, 0 none to 1 full;
    sampler_power: the same in what the sampler draws.
    mixup: both parameters of the Beta distribution, 0 none. jitter, scaling, time_warp: standard
    deviations. mirror: share of the channels whose sign is flipped.
    warmup: share of the steps in which the rate rises, of one_cycle and warmup_cosine.
    swa_start: share of the epochs after which weights are averaged; 1 averages none.
    patience: epochs without a better loss on the holdout before a fold stops; None trains all
    epochs. holdout: the part of the training fold that is held out for it (never validation data).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Choice
    loss: Choice = Choice(name="cross_entropy")
    learning_rate: Positive = 1e-3
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: NotNegative = 0.0
    l1: NotNegative = 0.0
    gradient_clip: Positive | None = 1.0
    schedule: Literal["none", "plateau", "cosine", "warmup_cosine", "one_cycle"] = "none"
    warmup: Share = 0.2
    plateau_factor: Share = 0.3
    plateau_patience: Annotated[int, Field(ge=0)] = 3
    swa_start: Annotated[float, Field(gt=0.0, le=1.0), BeforeValidator(_averaged_from)] = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 20
    patience: Annotated[int, Field(ge=1)] | None = None
    holdout: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.15
    window: Annotated[int, Field(ge=1)] | None = None
    stride: Annotated[int, Field(ge=1)] | None = None
    class_weight: Probability = 0.0
    sampler: Literal["none", "weighted", "oversample", "smote"] = "none"
    sampler_power: Probability = 1.0
    mixup: NotNegative = 0.0
    jitter: NotNegative = 0.0
    scaling: NotNegative = 0.0
    time_warp: NotNegative = 0.0
    mirror: Probability = 0.0
    normalise: Literal["standard", "min_max", "robust", "per_sequence", "none"] = "standard"
    seed: Annotated[int, Field(ge=0)] = 0
