{# Generated from expectations/ by `python -m orchestration.warehouse.sources`. Do not edit. #}
{% macro organisations_delivering(kind, table) %}
    {{ return({
        "benchmark": {"recid": ["north_carolina"]},
        "partner": {"clients": ["ljr", "rn", "svg"], "covariates": ["ljr", "rn", "svg"], "officers": ["ljr", "rn", "svg"], "supervisions": ["ljr", "rn", "svg"], "assignments": ["ljr", "rn", "svg"], "waves": ["ljr", "rn", "svg"], "item_responses": ["ljr", "rn", "svg"], "risc": ["ljr", "rn", "svg"]},
        "registry": {"cases": ["registry"], "offences": ["registry"], "disposals": ["registry"], "detentions": ["registry"], "departures": ["registry"], "linkage": ["registry"]}
    }[kind][table]) }}
{% endmacro %}
