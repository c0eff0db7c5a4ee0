"""Softmax and sigmoid with what the losses need of them, in one pass and with their gradient in closed form.

Most losses need not the probabilities but two things made from them: the negative log-likelihood of each
pixel's own label and the sum of each class's probability. Neither tensor of probabilities is kept: the
gradient computes them again. On a CPU the work goes block by block, so that what is in between stays in the
cache; on other devices there is one block. (Measured in docs/benchmarks.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from segtrain.bits import erase_, ignore_in_bytes, integer, keep_bits

BLOCK = 2**18  # elements of logits in a block: 1 MiB in float32, which the second-level cache holds
Gradients = tuple[Tensor | None, ...]


def blocks(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of images and of pixels that cover logits [N, C, P]."""
    if logits.device.type != "cpu":
        yield slice(None), slice(None)
        return
    number, channels, pixels = logits.shape
    images, step = max(1, BLOCK // max(1, channels * pixels)), max(1024, BLOCK // channels)
    for image in range(0, number, images):
        for start in range(0, pixels, step):
            yield slice(image, image + images), slice(start, start + step)


class Erase(torch.autograd.Function):
    """values, keep (a mask that broadcasts to them) -> the values, 0 where not kept, whatever stood there."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, keep: Tensor) -> Tensor:
        """A copy without what is not kept."""
        ctx.save_for_backward(keep)
        return erase_(values.clone(), keep_bits(keep, values))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """The gradient where kept."""
        (keep,) = ctx.saved_tensors
        return gradient * keep, None


class Softmax(torch.autograd.Function):
    """logits [N, C, P], target [N, P] -> nll [N, P], then [N, C] each: sums of p (1 - y), of its square, of y, and V.

    Args (of apply): logits, target, ignore index, whether sums of p (1 - y) (and of y) and of its square are wanted
    (else None). The last two are counts, without gradient. False positives are summed by themselves: the difference
    of sums over a million pixels would lose the few that are wrong.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, ignore: int, sums: bool, squares: bool
    ) -> tuple[Tensor | None, ...]:
        """Negative log-likelihood and sums; keeps the largest logit and the sum of exponentials of each pixel."""
        ctx.set_materialize_grads(False)
        ctx.ignore = ignore
        nll, top, total = (logits.new_empty(target.shape) for _ in range(3))
        claimed, squared = (logits.new_zeros(logits.shape[:2]) for _ in range(2))
        truth = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        seen = torch.zeros_like(truth)
        for n, s in blocks(logits):
            z, valid = logits[n, :, s], target[n, s] != ignore
            labels = (target[n, s] * valid).long()
            if sums or squares:
                truth[n] = truth[n].scatter_add_(1, labels, valid.long())
            seen[n] += valid.sum(1, keepdim=True)
            own = z.gather(1, labels.unsqueeze(1)).squeeze(1)
            top[n, s] = z.amax(1)
            power = (z - top[n, s].unsqueeze(1)).exp_()
            total[n, s] = power.sum(1)
            bits = keep_bits(valid, z)
            # log-sum-exp around the largest logit: exact for logits of any size
            nll[n, s] = erase_((top[n, s] - own).add_(total[n, s].log()), bits)
            if sums or squares:
                p = erase_(power.div_(total[n, s].unsqueeze(1)), bits.unsqueeze(1))
                p.scatter_(1, labels.unsqueeze(1), 0.0)
                claimed[n] += p.sum(2)
                if squares:
                    squared[n] += p.square_().sum(2)
        truth, seen = truth.to(logits.dtype), seen.to(logits.dtype)
        ctx.save_for_backward(logits, target, top, total)
        ctx.mark_non_differentiable(truth, seen)
        return nll, claimed if sums else None, squared if squares else None, truth, seen

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, on_nll: Tensor | None, on_sum: Tensor | None, on_square: Tensor | None, *_: None
    ) -> Gradients:
        """dz = p (w - sum(w p)) + nll's (p - 1 at the label), where w = on_sum + 2 p on_square, 0 at the label."""
        if on_nll is None and on_sum is None and on_square is None:
            return (None,) * 5
        logits, target, top, total = ctx.saved_tensors
        result = torch.empty_like(logits)
        for n, s in blocks(logits):
            valid = target[n, s] != ctx.ignore
            p = (logits[n, :, s] - top[n, s].unsqueeze(1)).exp_().div_(total[n, s].unsqueeze(1))
            erase_(p, keep_bits(valid, p).unsqueeze(1))
            back = result[n, :, s]
            scale = None if on_nll is None else on_nll[n, s] * valid
            labels = (target[n, s] * valid).long().unsqueeze(1)
            if on_sum is None and on_square is None and scale is not None:
                torch.mul(p, scale.unsqueeze(1), out=back)
            else:
                torch.mul(p, class_slopes(p, on_sum, on_square, n), out=back).scatter_(1, labels, 0.0)
                mean = back.sum(1)
                back.addcmul_(p, (mean if scale is None else mean - scale).unsqueeze(1), value=-1)
            if scale is not None:
                back.scatter_add_(1, labels, scale.neg_().unsqueeze(1))
        return result, None, None, None, None


class Sigmoid(torch.autograd.Function):
    """logits and target [N, C, P] -> nll [N, C, P], then [N, C] each: sums of p y, of p (1 - y) and
    (1 - p) y, of the squares of these two, of y, and V.

    Args (of apply): logits, target in {0, 1, ignore}, ignore index, whether nll, sums (the first three) and squares
    are wanted (else None). The last two are counts, without gradient. Squares come with sums. The errors are summed
    by themselves: a difference of sums over a million pixels would lose the few that are wrong.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, ignore: int, likelihood: bool, sums: bool, squares: bool
    ) -> tuple[Tensor | None, ...]:
        """Negative log-likelihood and sums; nothing is kept but the inputs, labels as bytes."""
        ctx.set_materialize_grads(False)
        target, ignore = ignore_in_bytes(target, ignore)
        nll = torch.empty_like(logits) if likelihood else None
        hit, claimed, missed, claimed2, missed2, truth, seen = (logits.new_zeros(logits.shape[:2]) for _ in range(7))
        for n, s in blocks(logits):
            z = logits[n, :, s]
            y, bits = yes_or_no(target[n, :, s], z, ignore)
            truth[n] += y.sum(2)
            seen[n] -= bits.sum(2, dtype=torch.int32)
            if sums:
                p = erase_(z.sigmoid(), bits)
                own = p * y
                hit[n] += own.sum(2)
                false, short = p.sub_(own), torch.sub(y, own, out=own)
                claimed[n] += false.sum(2)
                missed[n] += short.sum(2)
                if squares:
                    claimed2[n] += false.square_().sum(2)
                    missed2[n] += short.square_().sum(2)
            if nll is not None:  # -log p_t = log(1 + e^u), u = z for label 0 and -z for label 1
                nll[n, :, s] = erase_(softplus(torch.addcmul(z, z, y, value=-2)), bits)
        ctx.ignore = ignore
        ctx.save_for_backward(logits, target)
        ctx.mark_non_differentiable(truth, seen)
        regional = (hit, claimed, missed) if sums else (None, None, None)
        return nll, *regional, *((claimed2, missed2) if squares else (None, None)), truth, seen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, on_nll: Tensor | None, *on_sums: Tensor | None) -> Gradients:
        """dz = p (1 - p) s + (p - y) on_nll, where s = c for label 0 and on_hit - m for label 1,
        c = on_claimed + 2 p on_claimed2, m = on_missed + 2 (1 - p) on_missed2."""
        on_hit, on_claimed, on_missed, on_claimed2, on_missed2 = on_sums[:5]
        logits, target = ctx.saved_tensors
        regional = any(each is not None for each in on_sums[:5])
        if not regional and on_nll is None:
            return (None,) * 6
        zero = logits.new_zeros(logits.shape[:2])
        outside = zero if on_claimed is None else on_claimed
        inside = (zero if on_hit is None else on_hit) - outside - (zero if on_missed is None else on_missed)
        result = torch.empty_like(logits)
        for n, s in blocks(logits):
            z, back = logits[n, :, s], result[n, :, s]
            y, bits = yes_or_no(target[n, :, s], z, ctx.ignore)
            p = erase_(z.sigmoid(), bits)
            if regional:
                slope = torch.addcmul(outside[n].unsqueeze(2), y, inside[n].unsqueeze(2))
                if on_claimed2 is not None:
                    slope.addcmul_(p - p * y, on_claimed2[n].unsqueeze(2), value=2)
                if on_missed2 is not None:
                    slope.addcmul_(y - p * y, on_missed2[n].unsqueeze(2), value=-2)
                torch.ops.aten.sigmoid_backward.grad_input(slope, p, grad_input=back)
                if on_nll is not None:
                    back.addcmul_(torch.sub(p, y, out=y), on_nll[n, :, s])
            elif on_nll is not None:
                torch.sub(p, y, out=back).mul_(on_nll[n, :, s])
        return result, None, None, None, None, None


def yes_or_no(target: Tensor, like: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """Labels as 0 and 1 in the dtype of `like`, and the bits to keep.

    Comparisons into a tensor of the wanted type are four times as fast as into bool, for bytes.
    """
    bits = torch.empty(target.shape, dtype=integer(like), device=like.device)
    return torch.eq(target, 1, out=torch.empty_like(like)), torch.ne(target, ignore, out=bits).neg_()


def softplus(margin: Tensor) -> Tensor:
    """log(1 + e^u), to the last digit of float64 too (torch's own turns into u above 20)."""
    return F.softplus(margin, threshold=40)


def class_slopes(p: Tensor, on_sum: Tensor | None, on_square: Tensor | None, images: slice) -> Tensor:
    """on_sum + 2 p on_square, as it stands beside p [n, C, B]."""
    plain = torch.zeros_like(p[:, :, :1]) if on_sum is None else on_sum[images].unsqueeze(2)
    return plain if on_square is None else torch.addcmul(plain, p, on_square[images].unsqueeze(2), value=2)


class Focus(torch.autograd.Function):
    """nll -> (1 - p_t)^gamma nll, elementwise; the slope is computed along with the value.

    With n = nll and q = 1 - p_t = 1 - e^-n the slope is q^gamma + gamma n p_t q^(gamma - 1); it is finite for
    gamma < 1 too, since n / q goes to 1 where q goes to 0.
    """

    @staticmethod
    def forward(ctx: Any, nll: Tensor, gamma: float) -> Tensor:
        """The focused likelihood."""
        rows = nll.reshape(-1, nll.shape[-1])
        value, slope = torch.empty_like(rows), torch.empty_like(rows)
        for n, s in blocks(rows.unsqueeze(1)):
            likelihood = rows[n, s]
            q = likelihood.neg().expm1_().neg_()
            focus = q.pow(gamma)
            torch.mul(focus, likelihood, out=value[n, s])
            ratio = likelihood / q.clamp_(min=torch.finfo(q.dtype).tiny)
            torch.mul(q.neg_().add_(1).mul_(ratio).mul_(gamma).add_(1), focus, out=slope[n, s])
        ctx.save_for_backward(slope.view(nll.shape))
        return value.view(nll.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """The slope times the gradient."""
        (slope,) = ctx.saved_tensors
        return gradient * slope, None
