"""What is known about an image, such as its class, as the context of a flow."""

from glow_app.conditioning.class_conditioning import ClassConditioning
from glow_app.conditioning.conditioning import Conditioning, Given, Unconditional
