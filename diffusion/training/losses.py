"""What a network is trained on: L_simple (Ho et al. 2020), and L_hybrid where the variance is learned as well.

Of the variational bound there are its terms one step at a time, as training needs them: no sum over all steps, no term
of the prior, no importance sampling of steps. Bits per dimension throughout.
"""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.special import log_ndtr

from diffusion.process import NoiseProcess, spread
from diffusion.settings import Family

BOUND_WEIGHT = 0.001  # λ of L_hybrid = L_simple + λ L_vlb (Nichol & Dhariwal 2021, Section 3.1)
HALF_LEVEL = 1 / 255  # half the distance of two grey levels in [-1, 1]
EDGE = 0.999  # between the last grey level but one, 1 - 2/255, and the last
CLOSEST = -1e-7  # of two log-probabilities: what float32 still tells apart


def training_loss(
    process: NoiseProcess, family: Family, model: Callable[..., Any], images: Tensor, noise: Tensor, steps: Tensor
) -> Tensor:
    """The loss of a family: L_simple for ddpm, L_hybrid for iddpm.  (N,C,H,W), (N,C,H,W), (N,) → ()"""
    at = steps.cpu()  # once, where the tables of the process lie
    noisy = process.diffuse(images, noise, at)
    output = model(noisy, steps).sample  # (N, C or 2C, H, W)
    if family == "ddpm":
        return simple_loss(output, noise)
    return hybrid_loss(process, output, images, noisy, noise, at)


def simple_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """The mean squared error of the predicted noise, L_simple (Ho et al. 2020, Eq. 14).  (N,C,H,W) → ()"""
    return mse_loss(predicted.float(), noise)


def hybrid_loss(
    process: NoiseProcess, output: Tensor, images: Tensor, noisy: Tensor, noise: Tensor, steps: Tensor
) -> Tensor:
    """L_hybrid = L_simple + 0.001 L_vlb (Nichol & Dhariwal 2021, Eq. 16).  (N,2C,H,W), 3 × (N,C,H,W), (N,) → ()

    Steps are drawn uniformly, so T times the term of the drawn step estimates L_vlb, in bits per dimension. The code of
    the authors (openai/improved-diffusion, ``RESCALED_MSE``) adds the term times T/1000, which is the same. The bound
    teaches the variance alone: no gradient of it reaches the predicted noise.
    """
    predicted, interpolation = output.float().chunk(2, dim=1)
    terms = bound_terms(process, predicted.detach(), interpolation, images, noisy, steps)  # (N,)
    return simple_loss(predicted, noise) + BOUND_WEIGHT * process.diffusion_steps * terms.mean()


def bound_terms(
    process: NoiseProcess, predicted: Tensor, interpolation: Tensor, images: Tensor, noisy: Tensor, steps: Tensor
) -> Tensor:
    """The term of the variational bound at each image's step, in bits per dimension.  4 × (N,C,H,W), (N,) → (N,)

    KL(q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t)), and at t = 0 -log p(x_0 | x_1) (Nichol & Dhariwal 2021, Eq. 5 and 6).
    The predicted x_0 is not clipped here.
    """
    mean = process.posterior_mean(process.clean(noisy, predicted, steps), noisy, steps)
    log_variance = learned_log_variance(process, interpolation, steps)
    true_mean = process.posterior_mean(images, noisy, steps)
    true_log_variance = spread(process.log_posterior_variance[steps.cpu()], images)  # (N,1,1,1)
    nats = gaussian_kl(true_mean, true_log_variance, mean, log_variance).flatten(1).mean(1)  # (N,)
    first = (steps.cpu() == 0).nonzero().flatten().to(images.device, non_blocking=True)  # the few at t = 0
    likelihood = discretised_log_likelihood(images[first], mean[first], log_variance[first])
    return nats.index_put((first,), -likelihood.flatten(1).mean(1)) / log(2)


def learned_log_variance(process: NoiseProcess, interpolation: Tensor, steps: Tensor) -> Tensor:
    """The log-variance between log β̃_t and log β_t that an output names.  (N,C,H,W), (N,) → (N,C,H,W)

    It is v log β_t + (1 - v) log β̃_t with v = (output + 1) / 2 (Nichol & Dhariwal 2021, Eq. 15): outputs from -1 to 1
    cover the range, others leave it.
    """
    at = steps.cpu()
    largest = spread(process.log_betas[at], interpolation)  # (N,1,1,1)
    smallest = spread(process.log_posterior_variance[at], interpolation)  # (N,1,1,1)
    share = (interpolation + 1) / 2
    return share * largest + (1 - share) * smallest


def gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(other)) of each value, in nats.  (N,C,H,W) or what goes with it → (N,C,H,W)"""
    squared = (mean - other_mean) ** 2
    ratio = log_variance - other_log_variance
    return (ratio.expm1() - ratio + squared * (-other_log_variance).exp()) / 2


def discretised_log_likelihood(images: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The log-probability of each pixel's grey level under a normal distribution, in nats.  3 × (N,C,H,W) → (N,C,H,W)

    A level takes what lies within 1/255 of it, black and white also what lies beyond (Ho et al. 2020, Eq. 13). The
    normal integral is exact; the code of Ho et al. and of Nichol & Dhariwal takes a tanh for it, and a floor of 1e-12.
    """
    distance, deviation = images - mean, (log_variance / 2).exp()
    above, below = (distance + HALF_LEVEL) / deviation, (distance - HALF_LEVEL) / deviation
    mirrored = distance > 0  # into the lower tail, where a small probability keeps its digits
    upper, lower = log_ndtr(torch.where(mirrored, -below, above)), log_ndtr(torch.where(mirrored, -above, below))
    within = upper + torch.log(-torch.expm1((lower - upper).clamp(max=CLOSEST)))
    return torch.where(images < -EDGE, log_ndtr(above), torch.where(images > EDGE, log_ndtr(-below), within))
