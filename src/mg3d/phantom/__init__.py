"""The embedded data set: synthetic chest CT with findings, reports, labels and masks."""
