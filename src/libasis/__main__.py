"""``python -m libasis`` is the command ``libasis``; ``torchrun -m libasis`` shares its work among processes."""

from libasis_command import main

if __name__ == "__main__":
    main()
