"""All bijections of the project; every entry runs through all tests of ``tests/bijections/test_properties.py``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from glow_app.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Chain,
    ContinuousFlow,
    DiagonalAffine,
    Haar,
    Inverse,
    InvertibleConv1x1,
    MaskedAutoregressive,
    PixelwiseChain,
    Planar,
    PrincipalDirections,
    Reshape,
    SplineMap,
    Squeeze,
    Whitening,
)
from glow_app.conditioning import AttributeConditioning, ClassConditioning, Conditioning, Given
from glow_app.conditioning.class_conditioning import ClassVocabulary
from glow_app.flows import Glow, Level, Runner, WaveletFlow
from glow_app.flows.detail_flow import DetailFlow
from glow_app.models.image_model import ImageModel
from glow_app.nn import ActNormConv2d, Conditioner, ContextShift, ConvConditioner, MLPVelocity, ZeroConv2d
from glow_app.nn.context import Context
from glow_app.pictures.image_batch import Images
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.priors import CNFPrior, GaussianPrior, HeadPrior, IAFPrior, MAFPrior, PlanarPrior
from glow_app.restoration import (
    ContextDifference,
    Fill,
    PictureConditioning,
    RestorationTask,
    Upscale,
    picture_conditioning_of,
)
from glow_app.running.folded import FoldedAffine, FoldedStep, fold
from glow_app.running.fused import run_fused
from glow_app.spec import register

HIDDEN = 6

M = TypeVar("M", bound=nn.Module)
Model = TypeVar("Model", bound=ImageModel)
B = TypeVar("B", bound=Bijection)


class Sample(NamedTuple):
    bijection: Bijection
    x: Tensor
    context: Tensor | None


@dataclass(frozen=True)
class Case:
    """A bijection, the shapes of its input and context without the batch, and two shapes that it must refuse.

    ``tolerance`` is for results, ``row_tolerance`` for the influence of rows on each other. Solvers need wider ones.
    """

    constructor: Callable[[], Bijection]
    shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    bad_shape: tuple[int, ...] | None = None
    bad_latent_shape: tuple[int, ...] | None = None
    tolerance: float = 1e-9
    row_tolerance: float = 1e-12

    def batch(self, size: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor | None]:
        """Return a random input and its context."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(size, *self.shape, generator=generator, dtype=torch.float64)
        if self.context_shape is None:
            return x.to(dtype), None
        return x.to(dtype), torch.randn(size, *self.context_shape, generator=generator, dtype=torch.float64).to(dtype)

    def build(self, batch_size: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> Sample:
        """Return the bijection, initialised and with every parameter perturbed, and a new batch."""
        torch.manual_seed(seed)
        # A large perturbation before the initialisation, which normalises the activations, and a small one after it.
        bijection = perturb(self.constructor().to(dtype), seed=seed + 1, size=0.3)
        bijection.initialize(*self.batch(8, seed=seed + 2, dtype=dtype))
        return Sample(perturb(bijection, seed + 3, size=0.1), *self.batch(batch_size, seed=seed + 4, dtype=dtype))


@torch.no_grad()
def perturb(module: M, seed: int = 0, size: float = 0.3) -> M:
    """Perturb all parameters, because even a wrong coupling passes the tests at its zero initialisation."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter))
    return module


def tiny_glow(
    image_shape: tuple[int, int, int] = (3, 8, 8),
    num_levels: int = 2,
    num_steps: int | list[int] = 2,
    hidden_channels: int = 8,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    perturbation: float = 0.0,
    num_classes: int | None = None,
    **arguments: object,
) -> Glow:
    """Return an initialised Glow, with this many classes or with the argument ``conditioning``."""
    torch.manual_seed(seed)
    if num_classes is not None:
        arguments["conditioning"] = ClassConditioning(num_classes)
    flow = Glow(image_shape, num_levels, num_steps, hidden_channels, **arguments).to(dtype)  # type: ignore[arg-type]
    flow.initialize(torch.rand(16, *image_shape, dtype=dtype) - 0.5, tiny_context(flow, 16))
    return perturb(flow, seed, perturbation) if perturbation else flow


def tiny_wavelet_flow(
    image_shape: tuple[int, int, int] = (3, 8, 8), dtype: torch.dtype = torch.float32, **arguments: object
) -> WaveletFlow:
    """Return an initialised, perturbed wavelet flow of two detail levels on a Glow of one level."""
    torch.manual_seed(0)
    sizes = {"num_levels": 1, "num_steps": 1, "hidden_channels": 6, "detail_steps": [1, 2], "detail_channels": 6}
    sizes |= {"detail_features": [4, 5], "detail_blocks": 1}
    flow = WaveletFlow(image_shape, **(sizes | arguments)).to(dtype)  # type: ignore[arg-type]
    flow.initialize(torch.rand(64, *image_shape, dtype=dtype) - 0.5, tiny_context(flow, 64))
    return perturb(flow, 0, 0.05)


def tiny_given(flow: Glow | WaveletFlow, num: int, seed: int = 0) -> Given:
    """Return what is given about random images in training: labels, or damaged pictures; None for nothing."""
    generator = torch.Generator().manual_seed(seed)
    images = random_images(num, flow.image_shape, seed + 1)
    return flow.conditioning.observe(images, labels_for(flow.conditioning, num), generator)


def tiny_context(flow: Glow | WaveletFlow, num: int, seed: int = 0) -> Context:
    """Return the context of :func:`tiny_given`."""
    given = tiny_given(flow, num, seed)  # not by an ImageModel, which would change the runners of the flow
    if given is not None and given.is_floating_point():
        given = given.to(next(flow.parameters()).dtype)
    return None if given is None else flow.conditioning(given)


def labels_for(conditioning: Conditioning, num: int) -> Tensor:
    """Return labels of a data set: classes in turn, or attributes that are drawn at random."""
    if isinstance(conditioning, AttributeConditioning):
        draws = torch.rand(num, len(conditioning.attributes), generator=torch.Generator().manual_seed(num))
        return torch.where(
            torch.tensor([kind == "yes_no" for kind in conditioning.attributes.values()]), draws.round(), draws
        )
    return torch.arange(num) % (conditioning.num_classes if isinstance(conditioning, ClassConditioning) else 1)


def tiny_model(num_bits: int = 8, **arguments: object) -> LoadedModel:
    """Return an initialised, perturbed model in evaluation mode."""
    return LoadedModel(tiny_glow(**{"perturbation": 0.05, **arguments}), num_bits=num_bits).eval()  # type: ignore[arg-type]


def same_pictures(first: Tensor, second: Tensor, num_bits: int = 8) -> bool:
    """Return whether uint8 images differ by at most one grey level of a model, as draws in batches of other sizes."""
    return first.shape == second.shape and int((first.short() - second.short()).abs().max()) <= 2 ** (8 - num_bits)


def named(model: LoadedModel, *names: str) -> LoadedModel:
    """Name the classes of a model."""
    assert isinstance(model.vocabulary, ClassVocabulary)
    model.vocabulary.set_names(names)
    return model


def tiny_restorer(
    task: RestorationTask, size: float = 0.02, dtype: torch.dtype = torch.float32, images: Tensor | None = None
) -> LoadedModel:
    """Return a model with a task, initialised on images and perturbed, in evaluation mode."""
    torch.manual_seed(0)
    model = mark_trained(LoadedModel(Glow((3, 8, 8), 2, 2, 8, conditioning=PictureConditioning(task, 8, 2)).to(dtype)))
    images = random_images(64) // 8 + 112 if images is None else images
    model.initialize(images, model.conditioning.observe(images, torch.zeros(len(images))))
    return perturb(model, 1, size).eval()


def mark_trained(model: Model) -> Model:
    """Return a restoration model whose encoder counts as trained."""
    picture_conditioning_of(model).encoder.trained.fill_(True)
    return model


def random_images(num: int, image_shape: Sequence[int] = (3, 8, 8), seed: int = 0) -> Tensor:
    """Return uint8 images of independent random values."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, *image_shape), generator=generator, dtype=torch.uint8)


def class_grid(model: ImageModel, images: Tensor, seed: int, turns: Sequence[Given] | None = None) -> Image.Image:
    """Return the grid of images of the seeds from ``seed`` on, with what they were given."""
    seeds = range(seed, seed + len(images))
    in_turn = None if turns is None else [turns[each % len(turns)] for each in seeds]
    vocabulary = model.vocabulary
    given = vocabulary.format(vocabulary.default(seeds, vocabulary.parse(in_turn, len(seeds))))
    return Images(images, [{"given": value} for value in given]).grid()


# Every kind of conditioning: an entry earns every test of ``tests/conditioning/test_conditionings.py``. They are given
# what `observe` returns of images with labels from 0 to 2.
CONDITIONINGS: dict[str, Callable[[], Conditioning | None]] = {
    "unconditional": lambda: None,
    "classes": lambda: ClassConditioning(3, 4),
    "attributes": lambda: AttributeConditioning({"smiling": "yes_no", "age": "real", "hue": "circular"}, 4, 6),
    "enlarged picture": lambda: PictureConditioning(Upscale(), 3, 2),
    "picture with a mask": lambda: PictureConditioning(Fill(), 3, 1),
}


# A small prior of every kind.
PRIORS: dict[str, Callable[..., Bijection]] = {
    "gaussian": GaussianPrior,
    "planar": partial(PlanarPrior, num_layers=3),
    "maf, spline": partial(MAFPrior, hidden_features=20, elementwise="spline", num_bins=4),
    "iaf": partial(IAFPrior, hidden_features=20),
    "cnf": partial(CNFPrior, hidden_features=6, num_layers=1),
}


@register("other")
class OtherConditioner(Conditioner):
    """A conditioner that is not the project's: two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int, context_features: int = 0) -> None:
        super().__init__()
        self.first = ActNormConv2d(in_channels, hidden_channels, kernel_size=3)
        self.from_context = ContextShift(context_features, hidden_channels) if context_features else None
        self.last = ZeroConv2d(hidden_channels, out_channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._last(self.first(x), context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._last(self.first.initialize(x), context)

    def _last(self, h: Tensor, context: Tensor | None) -> Tensor:
        return self.last((h if self.from_context is None else h + self.from_context(context)).tanh())


def _conv(channels: int, parameters: int, features: int = 0) -> Conditioner:
    return ConvConditioner(channels // 2, parameters * (channels - channels // 2), HIDDEN, features)


def _step(channels: int, features: int = 0) -> Chain:
    mixing = PixelwiseChain(ActNorm(channels), InvertibleConv1x1(channels))
    return Chain(mixing, AffineCoupling(channels, _conv(channels, 2, features)))


def _folded_step(channels: int, features: int) -> Bijection:
    """Return a step, initialised on random values, with constant weights."""
    chain = perturb(Chain(_step(channels, features)).double())
    chain.initialize(torch.randn(8, channels, 3, 3).double(), torch.randn(8, features).double())
    return next(part for part in fold(chain).modules() if isinstance(part, FoldedStep))


def _run_by(runner: Runner, *steps: Bijection) -> Level:
    level = Level(Squeeze(), *steps)
    level.runner = runner
    return level


def _fitted(bijection: B, shape: tuple[int, ...]) -> B:
    """Return a bijection whose principal directions are fitted to correlated values."""
    part = next(part for part in bijection.modules() if isinstance(part, PrincipalDirections))
    values = torch.randn(400, 1, *shape[1:], generator=torch.Generator().manual_seed(0))
    part.double().fit((1 + torch.arange(shape[0]))[:, None, None] * values.double())
    return bijection


REGISTRY: dict[str, Case] = {
    "ActNorm": Case(lambda: ActNorm(4), (4, 2, 2)),
    "ActNorm, not learned": Case(lambda: ActNorm(3, learned=False), (3, 1, 2)),
    "InvertibleConv1x1, three channels, not square": Case(lambda: InvertibleConv1x1(3), (3, 1, 2)),
    "PixelwiseChain": Case(lambda: PixelwiseChain(ActNorm(4), InvertibleConv1x1(4)), (4, 1, 3)),
    "Whitening": Case(lambda: Whitening(4), (4, 2, 3)),
    "FoldedAffine": Case(lambda: FoldedAffine(perturb(InvertibleConv1x1(4).double())), (4, 1, 3)),
    "PrincipalDirections": Case(lambda: _fitted(PrincipalDirections((4, 2, 3), 3), (4, 2, 3)), (4, 2, 3)),
    "AffineCoupling, conv, context": Case(lambda: AffineCoupling(4, _conv(4, 2, 3)), (4, 2, 1), (3,)),
    "AffineCoupling, two channels": Case(lambda: AffineCoupling(2, _conv(2, 2)), (2, 3, 2)),
    "AdditiveCoupling, context": Case(lambda: AdditiveCoupling(4, OtherConditioner(2, 2, HIDDEN, 3)), (4, 2, 2), (3,)),
    "AffineCoupling, conv, map": Case(lambda: AffineCoupling(4, _conv(4, 2, 3)), (4, 2, 1), (3, 2, 1)),
    "AffineCoupling, conv, bounded input": Case(lambda: AffineCoupling(4, _conv(4, 2), max_input=0.8), (4, 2, 2)),
    "AffineCoupling, odd, map": Case(lambda: AffineCoupling(5, _conv(5, 2, 3)), (5, 2, 2), (3, 2, 2)),
    "Haar": Case(Haar, (2, 4, 2), bad_shape=(2, 4, 1), bad_latent_shape=(6, 2, 1)),
    "DetailFlow": Case(lambda: DetailFlow(1, 2, [_step(3, 4)], 4, 1), (3, 2, 3), (3, 2, 3)),
    "Squeeze": Case(Squeeze, (3, 4, 2), bad_shape=(3, 4, 1)),
    "DiagonalAffine": Case(lambda: DiagonalAffine(4), (4, 2, 2)),
    "DiagonalAffine, map": Case(lambda: DiagonalAffine(2, 3), (2, 2, 3), (3, 2, 3)),
    "DiagonalAffine, vector": Case(lambda: DiagonalAffine(2, 3, kernel_size=1), (2, 2, 2), (3,)),
    "ContextDifference": Case(lambda: ContextDifference(2), (2, 1, 3), (2, 1, 3)),
    "ContextDifference, mask": Case(lambda: ContextDifference(4, has_mask=True), (4, 1, 3), (8, 1, 3)),
    "Reshape": Case(lambda: Reshape((4, 2, 1), (8,)), (4, 2, 1), bad_latent_shape=(7,)),
    "MaskedAutoregressive, context, reversed": Case(
        lambda: MaskedAutoregressive(3, 8, 2, is_reversed=True), (3,), (2,)
    ),
    "MaskedAutoregressive, in groups": Case(lambda: MaskedAutoregressive(6, 12, max_groups=3), (6,)),
    "Inverse of MaskedAutoregressive, in groups, context": Case(
        lambda: Inverse(MaskedAutoregressive(6, 12, 2, max_groups=3)), (6,), (2,)
    ),
    "MaskedAutoregressive, narrow": Case(lambda: MaskedAutoregressive(6, 4), (6,)),
    "MaskedAutoregressive, two blocks": Case(lambda: MaskedAutoregressive(3, 6, num_blocks=2), (3,)),
    "MaskedAutoregressive, spline, context": Case(lambda: MaskedAutoregressive(4, 8, 2, SplineMap(5, 3.0)), (4,), (2,)),
    "Planar, context": Case(lambda: Planar(2, 3), (2,), (3,)),
    "Planar, one feature, context": Case(lambda: Planar(1, 3), (1,), (3,)),
    "Planar, five features, context": Case(lambda: Planar(5, 3), (5,), (3,)),
    "ContinuousFlow": Case(
        lambda: ContinuousFlow(MLPVelocity(2, 5), atol=1e-7, rtol=1e-7, eval_atol=1e-7, eval_rtol=1e-7),
        (2,),
        tolerance=1e-6,
        row_tolerance=1e-6,
    ),
    "ContinuousFlow, context": Case(
        lambda: ContinuousFlow(MLPVelocity(2, 5, context_features=2), "rk4", 8, eval_solver="rk4"),
        (2,),
        (2,),
        tolerance=1e-6,
    ),
    "GaussianPrior, context": Case(lambda: GaussianPrior((4, 2, 1), 3), (4, 2, 1), (3,)),
    "GaussianPrior, low rank, map": Case(
        lambda: _fitted(GaussianPrior((4, 2, 1), 3, 2), (4, 2, 1)), (4, 2, 1), (3, 2, 1)
    ),
    "HeadPrior": Case(lambda: HeadPrior((2, 2, 1), 0, [Planar(4)]), (2, 2, 1)),
    "PlanarPrior, context": Case(lambda: PlanarPrior((2, 2, 1), 3, num_layers=2), (2, 2, 1), (3,)),
    "MAFPrior, spline, context": Case(
        lambda: MAFPrior((2, 2, 1), 3, hidden_features=8, elementwise="spline", num_bins=4), (2, 2, 1), (3,)
    ),
    "MAFPrior, map": Case(lambda: MAFPrior((2, 2, 1), 3, hidden_features=8), (2, 2, 1), (3, 2, 1)),
    "IAFPrior, context": Case(lambda: IAFPrior((2, 2, 1), 3, hidden_features=8), (2, 2, 1), (3,)),
    "CNFPrior, context": Case(
        lambda: CNFPrior((1, 1, 2), 3, 5, 2, 1, solver="rk4", num_steps=5, eval_solver="rk4"),
        (1, 1, 2),
        (3,),
        tolerance=1e-6,
    ),
    "Chain": Case(lambda: Chain(ActNorm(4), DiagonalAffine(4), InvertibleConv1x1(4)), (4, 2, 1)),
    "Glow step, context": Case(lambda: _step(4, 3), (4, 2, 1), (3,)),
    "FoldedStep, context": Case(lambda: _folded_step(5, 3), (5, 2, 2), (3,)),
    "Level, plain": Case(lambda: Level(Squeeze(), _step(4)), (1, 2, 4)),
    "Level, fused, context": Case(lambda: _run_by(run_fused, _step(8, 3), _step(8)), (2, 2, 2), (3,)),
    "Level, fused, map": Case(lambda: _run_by(run_fused, _step(4, 2), _step(4)), (1, 4, 2), (2, 2, 1)),
    "Inverse of squeeze": Case(lambda: Inverse(Squeeze()), (4, 2, 2), bad_latent_shape=(1, 3, 4)),
}
