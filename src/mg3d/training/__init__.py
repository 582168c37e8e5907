"""From a store to trained weights: the task, the loop, and what a run leaves behind."""
