"""A warning when sentence similarity has nothing to learn from."""

from mg3d.progress import console


class KeptPairs:
    """Whether sentence similarity had pairs to learn from since the last logged row."""

    KINDS = ("positive", "negative")

    def __init__(self) -> None:
        self._most: dict[str, float] = {}
        self._warned: set[str] = set()

    def add(self, values: dict[str, float]) -> None:
        """Take note of a step's shares of kept pairs, if that objective is trained."""
        for kind in self.KINDS:
            share = values.get(f"sentence_similarity.{kind}_pairs")
            if share is not None:
                self._most[kind] = max(share, self._most.get(kind, 0.0))

    def warn(self, step: int) -> None:
        """Say once for each kind that no step of the window kept any; begin a new window."""
        for kind, most in self._most.items():
            if most == 0.0 and kind not in self._warned:
                self._warned.add(kind)
                console.print(
                    f"[yellow]sentence_similarity: 0 % {kind} pairs up to step {step}; it learns "
                    "from one side alone. Check its cut-offs or use larger batches."
                )
        self._most.clear()
