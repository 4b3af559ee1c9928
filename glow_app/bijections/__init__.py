"""Invertible maps with log-determinants: data to latent forward, latent to data backward."""

from glow_app.bijections.actnorm import ActNorm
from glow_app.bijections.affine import AffineMap, DiagonalAffine
from glow_app.bijections.autoregressive import MaskedAutoregressive
from glow_app.bijections.bijection import Bijection, Chain, Inverse
from glow_app.bijections.continuous.flow import ContinuousFlow
from glow_app.bijections.continuous.record import SolveRecord, held_noise, record_solves
from glow_app.bijections.continuous.solver import SolverError
from glow_app.bijections.conv1x1 import InvertibleConv1x1
from glow_app.bijections.coupling import AdditiveCoupling, AffineCoupling, Coupling
from glow_app.bijections.elementwise import ElementwiseMap, SplineMap
from glow_app.bijections.haar import Haar
from glow_app.bijections.normal_density import NormalDensity
from glow_app.bijections.pixelwise import PixelwiseAffine, PixelwiseChain
from glow_app.bijections.planar import Planar
from glow_app.bijections.principal_directions import PrincipalDirections
from glow_app.bijections.reshape import Reshape, Squeeze
from glow_app.bijections.whitening import Whitening
from glow_app.nn.precision import full_precision
