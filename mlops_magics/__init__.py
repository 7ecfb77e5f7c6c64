"""The whole MLOps lifecycle from notebook cells."""
