"""The maths of diffusion on arrays; imports jax, numpy and config.ranges, no other room.

    training   x0, eps, t --process.corrupt--> x_t              t from training_times; objective.loss: what is learned
    network    model_input, model_time of (x_t, t) --> output   objective.denoise: of whatever kind, to (x0, eps)
    sampling   noise --sample_loop--> x at t = 0                over spacing's times, each step taken by a sampler

Everywhere x_t = alpha x0 + sigma eps, t is in [0, 1] with 1 = noise, and t is (B,) for a time per video or (B, T) for
a time per frame.
"""
