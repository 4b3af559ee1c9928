"""Models of images."""

from glow_app.models.image_model import ImageModel
