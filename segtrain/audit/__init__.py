"""`segtrain check`: what is in a data set, what is wrong with it, what to train it with (diagnose.py)."""
