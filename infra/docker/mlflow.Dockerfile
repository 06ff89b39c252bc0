# syntax=docker/dockerfile:1.7
# MLflow's tracking server with PostgreSQL and S3:
#
#   docker build -f infra/docker/mlflow.Dockerfile -t manta-mlflow:3.17.2 .

FROM python:3.12.11-slim-bookworm
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir -c /tmp/constraints.txt mlflow==3.17.2 boto3 psycopg2-binary==2.9.11 \
    && groupadd --gid 1000 mlflow \
    && useradd --uid 1000 --gid 1000 --create-home mlflow
USER 1000:1000
WORKDIR /home/mlflow
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]
