"""Networks inside bijections, and one that reads numbers from pictures."""

from glow_app.nn.conditioner import Conditioner, ConvConditioner
from glow_app.nn.context import ContextShift
from glow_app.nn.convolutions import ActNormConv2d, ZeroConv2d
from glow_app.nn.data_dependent import DataDependentAffine
from glow_app.nn.feature_network import FeatureNetwork
from glow_app.nn.made import MADE
from glow_app.nn.masked import Degrees, MaskedLinear
from glow_app.nn.velocity import MLPVelocity, Velocity
