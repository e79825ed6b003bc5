"""The maths of diffusion on arrays; imports jax (and the numpy that comes with it) and no other room.

    training   x0, eps, t --process.corrupt--> x_t         prediction.target, loss: what is compared, and its weight
    network    x_t, process.model_time(t) --> prediction   prediction.to_x0_eps: of whatever kind, to (x0, eps)
    sampling   x at t = 1 --sample_loop--> x at t = 0      over process.times, each step taken by a sampler

Everywhere x_t = alpha x0 + sigma eps, t is in [0, 1] with 1 = noise, and t is (B,) for a time per video or (B, T) for
a time per frame.
"""
