"""Names and largest numbers that are accepted from a checkpoint's configuration; see :mod:`.stored_config`."""

import inspect

import torch

from lightning_modules import optimizers, schedules

# Options of the trainer that decide how a run continues; no callbacks, profilers, plugins or folders.
TRAINER = (
    "devices", "num_nodes", "precision", "fast_dev_run", "max_epochs", "min_epochs", "max_steps", "min_steps",
    "max_time", "limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches",
    "val_check_interval",
    "check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing",
    "enable_progress_bar", "enable_model_summary", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "deterministic", "benchmark", "inference_mode", "use_distributed_sampler",
    "detect_anomaly", "sync_batchnorm", "reload_dataloaders_every_n_epochs",
)  # fmt: skip
DROPPED = ("callbacks", "plugins", "profiler")  # with a warning, since the run may have used them
# Options that start processes, each of which takes a few hundred megabytes.
PROCESSES = ("trainer.devices", "trainer.num_nodes", "data.num_workers")
# Largest numbers of options that decide how much is held in memory or sampled, independently of the data.
LARGEST = {
    "data.num_samples": 10**7, "data.count": 10**7, "data.batch_size": 1 << 16, "data.eval_batch_size": 1 << 16,
    "model.num_draws": 10**4, "samples.num_images": 10**4,
}  # fmt: skip
ACCELERATORS = (None, "auto", "cpu", "gpu", "cuda", "mps", "tpu")
STRATEGIES = (None, "auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook", "ddp_find_unused_parameters_true")
STRATEGY_CLASSES = ("pytorch_lightning.strategies.DDPStrategy",)
STRATEGY_ARGUMENTS = (
    "broadcast_buffers", "bucket_cap_mb", "find_unused_parameters", "gradient_as_bucket_view", "init_sync",
    "process_group_backend", "start_method", "static_graph", "timeout",
)  # fmt: skip
LOGGERS = {
    "lightning_modules.runs.run_loggers.RunTensorBoardLogger": (),
    "lightning_modules.runs.run_loggers.RunWandbLogger": ("project", "offline", "timeout", "options"),
}
WANDB_OPTIONS = ("entity", "group", "job_type", "name", "notes", "tags")

OPTIMIZERS = {
    *(f"lightning_modules.optimizers.{name}" for name in optimizers.__all__),
    *(f"torch.optim.{name}" for name, value in vars(torch.optim).items() if inspect.isclass(value)),
}
SCHEDULES = {f"lightning_modules.schedules.{name}" for name in schedules.__all__}
