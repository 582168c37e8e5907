"""Exporters: phantom studies written as other programs and archives write theirs."""
