"""Readers: one file a format, each turns a `ScanSource` into a `Volume`."""
