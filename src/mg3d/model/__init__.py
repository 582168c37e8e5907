"""The model: single-device modules with all parameters; no data, no training, no processes."""
