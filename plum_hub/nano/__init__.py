"""The embedded default: a small task family and a nano policy on which PLUM works in minutes on two CPU cores.

To every stage nano is one more checkpoint and one more instruction set: nothing about it is special-cased elsewhere.
It only builds two artefacts, which generic code then publishes to a Hub:

    from plum_hub.nano import corpus, policy
    corpus.build_datasets()                    # {config name: datasets.Dataset}, the same bytes everywhere
    policy.build_initial(Path("nano-init"))    # a randomly initialised checkpoint with tokenizer and chat template

`tasks` holds the task family, `corpus` what is published of it, `policy` the checkpoint.

What it is not: the seed corpus is deliberately buggy, and the test generator's responses are written by a program that
knows the right answer, a stand-in for a language model. Figures reached on nano show that the machinery works. They say
nothing about how much a real code model gains.
"""
