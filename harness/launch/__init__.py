"""From the command line to engines that work, on this machine or others.

command line  run.py (Hydra in, a sweep out), plugins.py (shows ours to Hydra), sweeper.py (designs), quiet.py, paths.py
              help.py, completion.py, candidates.py, choices.py: what can be asked
              command_line.py, overrides.py, hydra_options.py, options.py, search_path.py, wishes.py: what was meant, or
              refused
launchers     launcher.py (what they share), local.py (this machine), ray_launcher.py, slurm_launcher.py
engines       execute.py (plan, train, judge, report), in_process.py (one engine here), several_engines.py with
              engine_pool.py (a queue of runs), engine_process.py (an engine of its own), work_order.py (its orders)
commands      doctor.py with env_doctor.py (three agents in an environment), archive_command.py;
              probe_command.py with probe_loop.py (symptoms of a loop), probe_replayed.py and probe_reference.py (its
              rollouts beside their environment and options), probed.py (what it looked at) and probe_page.py;
              replay_command.py;
              certificate.py with company.py (do answers depend on what else is asked?); one_run.py: their options

Nobody below may import this room. It must not know what a step is: it hands runs to `sweep.train_runs` and reads the
records.
"""
