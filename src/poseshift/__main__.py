"""``python -m poseshift``."""

from poseshift.cli import main

if __name__ == "__main__":
    main()
