"""``python -m connectivity_hooks``: the program ``connectivity-hooks``, alone or as one of several processes."""

from connectivity_hooks.cli import main_of_several

if __name__ == "__main__":
    main_of_several()
