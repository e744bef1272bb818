"""`python -m yummy_fast`."""

from yummy_fast.cli import main

if __name__ == "__main__":
    main()
