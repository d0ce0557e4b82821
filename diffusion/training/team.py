"""The processes of one training and what they agree on."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Team:
    """The processes of one training and what they agree on, over the CPUs, so that no question waits for a GPU."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # only Accelerator reads it by itself
        self.device: torch.device = state.device
        self.rank, self.count = int(state.process_index), int(state.num_processes)
        self.is_first = self.rank == 0
        self.group: Any = torch.distributed.new_group(backend="gloo") if self.count > 1 else None

    def sum(self, value: float) -> float:
        """The sum of what each process gives."""
        if self.group is None:
            return value
        import torch

        total = torch.tensor(value, dtype=torch.float64)  # ()
        torch.distributed.all_reduce(total, group=self.group)
        return float(total)

    def any(self, asked: bool) -> bool:
        """Whether one of them says so."""
        return self.sum(float(asked)) > 0

    def wait(self) -> None:
        """Until all are here: nobody leaves before the first one has saved."""
        self.sum(0)

    def mean(self, loss: "Tensor") -> float:
        """The mean over the processes; waits for the device.  ()"""
        return self.sum(float(loss)) / self.count
