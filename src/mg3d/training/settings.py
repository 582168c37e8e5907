"""What a training run is: everything but where it reads and where it writes."""

from dataclasses import dataclass, field

from mg3d.errors import ConfigError
from mg3d.model.vlm import ModelConfig
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.training.corpus import CorpusConfig
from mg3d.training.engine import Accelerator, Precision, Strategy
from mg3d.training.loop import LoopConfig
from mg3d.training.optim import OptimizerConfig
from mg3d.training.start import StartConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The section ``pretrain`` of a recipe."""

    seed: int = 1
    """Seed of the initial weights, order and masks."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture."""
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    """Terms of the loss and their weights; weight 0 leaves a term out."""
    vocabulary_size: int = 4000
    """Most entries of the WordPiece vocabulary that is learned where no text encoder is named."""
    max_tokens: int = 250
    """Most tokens of a report, special tokens included; the rest is cut off and counted."""
    start: StartConfig = field(default_factory=StartConfig)
    """What is fitted to the training split before the first step."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """Training of the text encoder alone, on the training split's reports, before the volumes."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedule."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Length, batch size, checkpoints and logs."""
    precision: Precision = "32-true"
    """Arithmetic of the model; weights and sums stay float32."""
    accelerator: Accelerator = "auto"
    """Where to train; for several processes start with `torchrun --nproc_per_node N -m mg3d`."""
    strategy: Strategy = "ddp"
    """What several processes share: ddp, each holds the whole model; fsdp, each holds a piece of
    its weights, gradients and optimiser state, for models whose step does not fit one device. The
    weights alone must fit: each device holds them whole once, before they are cut."""
    num_workers: int = 2
    """Threads that read the store ahead of the training, >= 0; 0 reads when a step begins."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice. Bit-equal resume needs the same number."""
    text_cache_gb: float = 4.0
    """Memory of each process, in 10^9 bytes, for what a frozen text encoder said of reports. One of
    250 tokens takes 0.77 MB with a BERT-base, so 4 hold 5,200; others are encoded again in every
    step. Each process meets, in time, all reports. Changes no bits."""
    shuffle_reports: bool = False
    """Control experiment: give every training study another patient's report."""

    def __post_init__(self) -> None:
        least = {"vocabulary_size": 1, "max_tokens": 1, "num_workers": 0, "threads": 0}
        least |= {"text_cache_gb": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name} is {getattr(self, name)}; give {minimum} or more")
