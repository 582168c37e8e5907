"""Evaluation: what a trained model is worth, under rules that are stored beside each number."""
