"""Models of images, and of points in the plane."""

from glow_app.models.image_model import ImageModel
from glow_app.models.points_model import PointsModel

Density = ImageModel | PointsModel
