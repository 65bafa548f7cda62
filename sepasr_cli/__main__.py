"""`python -m sepasr_cli` does what `sepasr` does."""

from sepasr_cli.cli import main

if __name__ == "__main__":
    main()
