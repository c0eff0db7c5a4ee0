"""What happens around the training loop; each file is one concern."""

from segtrain.callbacks.checkpoints import BEST, LAST, KeepBest, KeepLast
from segtrain.callbacks.compiling import Compiled
from segtrain.callbacks.ema import Ema
from segtrain.callbacks.freezing import FreezeEncoder
from segtrain.callbacks.guards import NonFiniteGuard
from segtrain.callbacks.images import ImageTable
from segtrain.callbacks.perf import Speed
from segtrain.callbacks.pictures import Pictures
from segtrain.callbacks.profiling import StepProfile
from segtrain.callbacks.progress import StepBar
from segtrain.callbacks.report import EpochReport
from segtrain.callbacks.rounding import RoundingCheck
from segtrain.callbacks.seeding import StepSeeds
from segtrain.callbacks.stopping import EarlyStop, StopSignal

__all__ = [
    "BEST",
    "LAST",
    "Compiled",
    "EarlyStop",
    "Ema",
    "EpochReport",
    "FreezeEncoder",
    "ImageTable",
    "KeepBest",
    "KeepLast",
    "NonFiniteGuard",
    "Pictures",
    "RoundingCheck",
    "Speed",
    "StepBar",
    "StepProfile",
    "StepSeeds",
    "StopSignal",
]
