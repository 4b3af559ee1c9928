"""Metrics of a model: bits/dim, distances between features, copies of training images, exactness of the inverse."""

from glow_app.evaluation.batches import batches, draw_samples, features_of, fingerprint
from glow_app.evaluation.bits import MeanBits, mean_bits
from glow_app.evaluation.comparison import Comparison, compare
from glow_app.evaluation.features import FeatureExtractor, feature_facts, load_features
from glow_app.evaluation.measured_images import EvaluationData, evaluation_data
from glow_app.evaluation.neighbours import Nearness, Neighbours, TrainingNeighbours, nearness
from glow_app.evaluation.verdict import restoration_verdict, verdict
