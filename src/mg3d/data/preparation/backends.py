"""Who runs the workers: processes of this machine (loky), a dask cluster or a ray cluster.

All three are joblib backends, so what runs on them is the same code and gives the same bytes. Two
of them are completed here: joblib never hears of a worker that dies under dask, and does not
stream results from ray, though ray can.
"""

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from joblib import cpu_count, parallel_config, register_parallel_backend
from joblib.externals.loky.process_executor import TerminatedWorkerError

from mg3d.errors import ConfigError, MissingExtraError

Backend = Literal["loky", "dask", "ray"]
_CONNECT_TIMEOUT_S = 15


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many processes work, and under whom.

    Raises:
        ConfigError: For a negative number, or an address that loky has no use for.
    """

    backend: Backend = "loky"
    num: int = 0
    """Processes; 0 = one a CPU core. Under loky, 1 is this process itself. A dask cluster with an
    address has workers of its own, all of which are used."""
    address: str = ""
    """Scheduler of a running dask cluster, or head node of a ray cluster; "" starts workers on
    this machine."""

    def __post_init__(self) -> None:
        if self.num < 0:
            raise ConfigError(f"num_workers {self.num}: 0 for one a core, or a number")
        if self.address and self.backend == "loky":
            raise ConfigError(
                f"address {self.address!r}: loky works on this machine only; name the cluster's "
                "kind with --backend dask or --backend ray"
            )

    @property
    def num_processes(self) -> int:
        """Processes that work at the same time on this machine."""
        return self.num or int(cpu_count())


@dataclass(frozen=True)
class Running:
    """Workers that are up: joblib uses them as long as `running` lasts."""

    num: int
    """Jobs at a time, as joblib counts them: -1 = as many as there are workers."""
    deaths: tuple[type[BaseException], ...]
    """What joblib raises when a worker process dies."""


@contextlib.contextmanager
def running(workers: Workers) -> Iterator[Running]:
    """Start workers, or connect to them; joblib uses them inside the block.

    Raises:
        MissingExtraError: If dask or ray is not installed.
        ConfigError: If no cluster answers at the address.
    """
    start = {"loky": _loky, "dask": _dask, "ray": _ray}[workers.backend]
    with start(workers) as started:
        yield started


@contextlib.contextmanager
def _loky(workers: Workers) -> Iterator[Running]:
    with parallel_config(backend="loky"):
        yield Running(workers.num_processes, (TerminatedWorkerError,))


@contextlib.contextmanager
def _dask(workers: Workers) -> Iterator[Running]:
    distributed = _import("dask", "distributed")
    register_parallel_backend("mg3d_dask", _complete_dask())
    with contextlib.ExitStack() as stack:
        place: Any = workers.address
        if not workers.address:
            # A scan that kills its worker would by default kill three more; `pool` decides whom to
            # try again.
            alone = {"distributed.scheduler.allowed-failures": 0}
            stack.enter_context(_import("dask", "dask").config.set(alone))
            place = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers.num_processes,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = distributed.Client(place, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise _no_cluster(workers) from error
        stack.enter_context(client)
        stack.enter_context(parallel_config(backend="mg3d_dask", client=client))
        yield Running(-1, (distributed.KilledWorker,))


@contextlib.contextmanager
def _ray(workers: Workers) -> Iterator[Running]:
    ray = _import("ray", "ray")
    register_parallel_backend("mg3d_ray", _complete_ray())
    place: dict[str, Any] = {"address": workers.address}
    if not workers.address:
        place = {"num_cpus": max(2, workers.num_processes), "include_dashboard": False}
    try:
        ray.init(**place, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise _no_cluster(workers) from error
    try:
        num = workers.num or int(ray.cluster_resources()["CPU"])
        with parallel_config(backend="mg3d_ray"):  # for 1 joblib would work in this process
            yield Running(max(2, num), (ray.exceptions.RayActorError,))
    finally:
        ray.shutdown()


def _no_cluster(workers: Workers) -> ConfigError:
    return ConfigError(
        f"no {workers.backend} cluster answers at address {workers.address!r}; start it first, or "
        "leave the address out to work on this machine"
    )


def _import(extra: str, module: str) -> Any:
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"backend {extra!r} needs a package that is not installed; run "
            f"pip install 'mg3d[{extra}]', or take loky"
        )
    return importlib.import_module(module)


@dataclass(frozen=True)
class _Failure:
    """A task that ended without a result, on its way to whoever waits for one."""

    error: BaseException


def _complete_dask() -> Any:
    """joblib's dask backend, which also reports tasks that died (seen with joblib 1.4 to 1.6).

    It calls joblib back with results only, so a stream of results waits for ever for a task whose
    worker was killed.
    """
    from joblib._dask import DaskDistributedBackend

    class CompleteDaskBackend(DaskDistributedBackend):  # type: ignore[misc]
        """Calls back for every task."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            # For 1 joblib would work in this process, and a worker may just be restarting.
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            future: Future[Any] = super().submit(func, callback)
            if callback is not None:
                future.add_done_callback(partial(_tell_failure, callback))
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, _Failure):
                raise out.error
            return super().retrieve_result_callback(out)

    return CompleteDaskBackend


def _tell_failure(callback: Callable[[Any], None], future: "Future[Any]") -> None:
    error = future.exception()
    if error is not None:
        callback(_Failure(error))


def _complete_ray() -> Any:
    """ray's backend; it inherits from a process pool that cannot stream results, but itself can."""
    base = _import("ray", "ray.util.joblib.ray_backend").RayBackend
    return type("StreamingRayBackend", (base,), {"supports_return_generator": True})
