"""What a call allocates."""

from torch.profiler import ProfilerActivity, profile


def peak(run):
    """The most bytes that a call holds at once beside what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
