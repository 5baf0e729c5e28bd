{# A layer is a schema: staging, intermediate, marts, seeds. No prefix of a target, since a build has a file of its own. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
