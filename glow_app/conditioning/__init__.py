"""What is known about an image, such as its class or attributes, as the context of a flow."""

from glow_app.conditioning.attribute_conditioning import AttributeConditioning, parse_attributes
from glow_app.conditioning.class_conditioning import ClassConditioning
from glow_app.conditioning.conditioning import Conditioning, Given, Guidance, Unconditional
