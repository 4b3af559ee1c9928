"""Conditionings: networks from what is known about an image to the context of a flow, and the words for it."""

from glow_app.conditioning.attribute_conditioning import AttributeConditioning, parse_attributes
from glow_app.conditioning.class_conditioning import ClassConditioning
from glow_app.conditioning.conditioning import Conditioning, Unconditional
from glow_app.conditioning.vocabulary import Given, Vocabulary
