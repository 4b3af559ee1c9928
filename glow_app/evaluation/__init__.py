"""Metrics of a model: bits/dim, distances between features, copies of training images, exactness of the inverse."""

from glow_app.evaluation.batches import batches, fingerprint, observed_batches
from glow_app.evaluation.bits import Exactness, MeanBits, bits_record, exactness, mean_bits
from glow_app.evaluation.features import FeatureExtractor, load_features
from glow_app.evaluation.measured_images import EvaluationData, data_arguments, evaluation_data
from glow_app.evaluation.neighbours import nearest_training_images, nearness
from glow_app.evaluation.samples import Comparison, compare, compare_samples, draw_samples, turns_of
from glow_app.evaluation.verdict import faults_in, faults_of, verdict
