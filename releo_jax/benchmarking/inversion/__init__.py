"""Inversions side by side: tasks, algorithms, budgets."""
