"""Groups of rollouts of a stated shape, packed by ART: for measuring and testing the trainer without an environment."""

import math
import random

from art.preprocessing.pack import PackedTensors, packed_tensors_from_tokenized_results
from art.preprocessing.tokenize import TokenizedResult

TURN = 32  # tokens: what is trained and what is not take turns


def packed_groups(
    groups: int,
    rollouts: int,
    prompt: int,
    own: tuple[int, int],
    vocabulary: int,
    row_tokens: int,
    seed: int = 0,
    share_prompt: bool = True,
) -> PackedTensors:
    """Rows [rows, row_tokens] of groups whose rollouts share `prompt` tokens and have own[0] to own[1] more.

    share_prompt: several rollouts in a row behind one copy of their prompt; False: a row for every rollout, as stock
        ART has them
    Half of a rollout's own tokens are trained. Ids, log-probs and advantages are random, and the same for one seed.
    """
    source = random.Random(seed)
    results = []
    for _ in range(groups):
        prompt_id = source.getrandbits(62)
        shared = [source.randrange(vocabulary) for _ in range(prompt)]
        for _ in range(rollouts):
            results.append(_rollout(source, vocabulary, prompt_id, shared, source.randint(*own)))
    state = random.getstate()  # ART's packing draws from the global generator
    random.seed(seed)
    try:
        return packed_tensors_from_tokenized_results(
            results, row_tokens, truncate_long_results=False, pack_results=share_prompt
        )
    finally:
        random.setstate(state)


def _rollout(source: random.Random, vocabulary: int, prompt_id: int, shared: list[int], own: int) -> TokenizedResult:
    trained = [int(place % (2 * TURN) >= TURN) for place in range(own)]
    tokens = shared + [source.randrange(vocabulary) for _ in range(own)]
    return TokenizedResult(
        advantage=source.gauss(0, 1),
        chat="",
        token_ids=tokens,
        input_pos=list(range(len(tokens))),
        assistant_mask=[0] * len(shared) + trained,
        logprobs=[math.nan] * len(shared) + [math.log(source.uniform(0.05, 1.0)) if t else math.nan for t in trained],
        pixel_values=None,
        image_grid_thw=None,
        trajectory=None,  # type: ignore[arg-type]
        choice_offsets=[],
        extra_logprobs={},
        _tokenizer=None,  # type: ignore[arg-type]
        weight=1 / max(sum(trained), 1),
        prompt_id=prompt_id,
        prompt_length=len(shared),
    )
