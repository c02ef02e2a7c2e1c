"""Losses between what networks answer: their logits."""
