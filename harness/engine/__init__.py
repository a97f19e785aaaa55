"""Behind `backend=shared`: one vLLM server with many adapters, and one trainer that runs take turns on.

sampler   server.py (what is asked of it), server_process.py (the process), server_environment.py (what it may know of
          ours), listeners.py (is it who listens?), guard.py (its end when ours ends), slots.py (which adapters are
          loaded), server_side/ (plug-ins that run inside vLLM)
trainer   trainer.py (an update as a pure function), trainer_process.py (its process), state.py (what it starts from
          and ends with), adapter.py, packed_rows.py, art_loss.py, attention.py, fused.py, execution.py (how it is
          computed on a device), probe.py (checked before the first update), synthetic.py (made-up batches to
          measure it), random_adapter.py (adapters that nobody trained, to measure the sampler)

Only `backend/shared.py` and benchmarks come in here. The engine knows adapters, tokens and digests; it must not know
arms, fixes, tasks, environments or the records of a run.
"""
