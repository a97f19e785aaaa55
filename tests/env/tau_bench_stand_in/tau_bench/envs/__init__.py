from importlib import import_module


def get_env(env_name, user_strategy, user_model, task_split, user_provider=None, task_index=None):
    return import_module(f"tau_bench.envs.{env_name}").Domain(user_strategy, task_split, task_index)
