"""lr=auto and batch_size=auto.

auto.py        which settings are still to be measured, and the numbers in their place
measuring.py   measures them before a training, each known to those behind it
lr_range.py    the range test and its rule
throughput.py  images a second of rising batches, and where memory ends

To let another setting be measured: its stand-in in auto.py, and a step of `measuring.tune`.
"""
