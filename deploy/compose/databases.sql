-- Run once, when the database of the compose file is made: Dagster's tables are apart from the ledger.
create database ledger template template0 encoding 'UTF8' locale 'C';
create database dagster template template0 encoding 'UTF8' locale 'C';
