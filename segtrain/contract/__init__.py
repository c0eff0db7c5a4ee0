"""What every loss must do, as promises that any loss can be held to: ours in the tests, a user's by `test-loss`.

suite           the promises, in the order of reports; `examine(build, modes)` tries them all
meaning         promises about values: what is ignored, which prediction is best, what an empty mask does
mechanics       promises about tensors: dtypes, extremes, gradients, layout, waiting
processes       the promise that needs two processes
counterexample  the smallest example on which a promise is broken
"""

from segtrain.contract.suite import PROMISES, Verdict, examine

__all__ = ["PROMISES", "Verdict", "examine"]
