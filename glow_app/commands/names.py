"""The commands of ``glow`` and their help texts."""

TRAINING = {
    "fit": "train a model: glow fit FOLDER, or glow fit --config NAME",
    "validate": "bits/dim of a checkpoint on the validation images",
    "test": "bits/dim of a checkpoint on the test images",
    "presets": "list the configurations for glow fit --config, or show one",
}
COMMANDS = {
    "sample": "draw images at a temperature",
    "interpolate": "interpolate between images",
    "edit": "learn attributes from examples, and change pictures",
    "restore": "enlarge, denoise, deblock, colour or fill pictures",
    "reconstruct": "encode and decode images, and report the error",
    "score": "score how likely and how unusual images are",
    "evaluate": "evaluate a model: likelihood, FID, copies, exactness",
    "encode": "write the latents of images to a file",
    "decode": "decode latents to images",
    "serve": "serve a model: HTTP API and web page",
    "data": "render faces",
    "export": "export the weights, or a sampler as a torch.export program",
    "models": "list the bundled models and those in the hub's cache",
    "info": "show what a model, a checkpoint or a sample records",
}
