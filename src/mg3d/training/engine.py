"""Fabric as a run uses it: processes, device, and arithmetic of lower precision.

The loop and the model know none of it. The invariant: what goes into the task is what came out of
`StudyBatch.to`; only the arithmetic inside is autocast.
"""

import os
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

from mg3d.errors import ConfigError
from mg3d.training.heap import keep_freed_memory
from mg3d.training.optim import OptimizerConfig, build_optimizer
from mg3d.training.sharding import shard_
from mg3d.training.task import TrainingTask

_SLURM_TASKS = "SLURM_STEP_NUM_TASKS"
"""Processes that srun starts; a batch script alone has SLURM_NTASKS, but not this."""
_LAUNCHER_VARIABLES = ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Strategy = Literal["ddp", "fsdp"]
Accelerator = Literal["auto", "cpu", "cuda"]


class Autocast(MixedPrecision):
    """Mixed precision that leaves the inputs as they are.

    Fabric would round volumes to 16 bits before the model sees them, which are also what
    masked_volume has to restore, and it cannot rebuild frozen dataclasses.
    """

    def convert_input(self, data: Any) -> Any:
        """The inputs, untouched."""
        return data

    def unscale_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the loss scale off; Fabric refuses fused optimisers, PyTorch's scaler knows them."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)


def launch(accelerator: Accelerator, precision: Precision, strategy: Strategy = "ddp") -> Fabric:
    """One process, or one of as many as torchrun started.

    Args:
        accelerator: "auto" takes CUDA where there is a device.
        precision: Weights stay float32 in any case.
        strategy: What several processes share: with "ddp" each holds the whole model, with "fsdp"
            a piece of it. One process has nothing to share.

    Raises:
        ConfigError: If there is no such device, the launcher's variables are missing or incomplete,
            or the loss scale of 16-mixed is asked to watch over pieces.
    """
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("accelerator cuda: torch sees no CUDA device here; use cpu or auto")
    several = "WORLD_SIZE" in os.environ  # torchrun sets it
    missing = [name for name in _LAUNCHER_VARIABLES if name not in os.environ] if several else []
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is set, but {' and '.join(missing)} not: start several processes with "
            "torchrun, set these variables as it does, or unset WORLD_SIZE for one process"
        )
    _refuse_strangers(several=several)
    if several and strategy == "fsdp" and precision == "16-mixed":
        raise ConfigError("strategy fsdp does not train with 16-mixed; give bf16-mixed or 32-true")
    fabric = Fabric(
        accelerator=accelerator,
        devices=int(os.environ["LOCAL_WORLD_SIZE"]) if several else 1,
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]) if several else 1,
        strategy=_strategy(strategy) if several else "auto",
        plugins=_plugins(accelerator, precision, several=several),
    )
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def _refuse_strangers(*, several: bool) -> None:
    """Processes that srun starts without saying so to torch would all be the first one."""
    tasks = int(os.environ.get(_SLURM_TASKS, "1"))
    if tasks > 1 and not several:
        raise ConfigError(
            f"srun started {tasks} processes ({_SLURM_TASKS}), but WORLD_SIZE is not set, so each "
            "would train alone in the same folder. Before srun, export WORLD_SIZE=$SLURM_NTASKS, "
            "LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE and GROUP_WORLD_SIZE=$SLURM_NNODES, or give "
            "srun --ntasks=1"
        )


def _plugins(accelerator: str, precision: Precision, *, several: bool) -> list[Any]:
    plugins: list[Any] = [] if precision == "32-true" else [Autocast(precision, accelerator)]
    # One process inside a SLURM allocation is alone, whatever --ntasks was given for others.
    return plugins if several else [*plugins, LightningEnvironment()]


def _strategy(name: Strategy) -> str | ModelParallelStrategy:
    if name == "ddp":
        return name
    processes = int(os.environ["WORLD_SIZE"])
    return ModelParallelStrategy(shard_, data_parallel_size=processes, tensor_parallel_size=1)


def set_up(
    fabric: Fabric, task: TrainingTask, settings: OptimizerConfig
) -> tuple[Any, torch.optim.Optimizer, Any]:
    """The task over all processes, and an optimiser of what each of them holds.

    Returns:
        The task as the loop calls it, the bare optimiser, and the optimiser as the loop calls it.
    """
    wrapped = fabric.setup_module(task)
    optimizer = build_optimizer(task.model, settings)  # after sharding, which replaces parameters
    return wrapped, optimizer, fabric.setup_optimizers(optimizer)


def unscale_gradients(fabric: Fabric, optimizer: Any) -> bool:
    """Take the loss scale of 16-mixed off the gradients, so that they can be measured and clipped.

    Args:
        fabric: The run's.
        optimizer: As `Fabric.setup` returned it.

    Returns:
        Whether there is a loss scale; then gradients that are not finite are part of the method.
    """
    precision = fabric.strategy.precision
    precision.unscale_gradients(optimizer.optimizer)
    return getattr(precision, "scaler", None) is not None


def scaler_state(fabric: Fabric) -> dict[str, float]:
    """What has to be saved of the loss scaler; empty but under 16-mixed."""
    state: dict[str, float] = fabric.strategy.precision.state_dict()
    return state


def restore_scaler(fabric: Fabric, state: dict[str, float]) -> None:
    """The inverse of `scaler_state`."""
    if state:
        fabric.strategy.precision.load_state_dict(state)
