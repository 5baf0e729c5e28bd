{# Whether the case of an offence counts under an outcome definition, given how it was disposed of. #}
{% macro case_counts(offence, outcome) -%}
    (
        {{ offence }}.counts = 'always'
        or ({{ offence }}.counted_when = 'pending_counts' and {{ outcome }}.pending_counts)
        or ({{ offence }}.counted_when = 'policy_dismissal_counts' and {{ outcome }}.policy_dismissal_counts)
    )
{%- endmacro %}


{# Whether an offence is of the level that an outcome definition asks for. #}
{% macro is_of_level(offence, outcome) -%}
    case {{ outcome }}.level
        when 'general' then true
        when 'serious' then {{ offence }}.is_serious
        when 'very_serious' then {{ offence }}.is_very_serious
        when 'specific' then {{ offence }}.offence_group = {{ outcome }}.index_offence_group
        when 'custodial' then {{ offence }}.is_custodial
        else error('an outcome definition has a level that nobody computes')
    end
{%- endmacro %}


{# The day on which an offence counts as an event, by the date basis of an outcome definition. #}
{% macro counts_on(offence, outcome) -%}
    case {{ outcome }}.date_basis
        when 'offence' then {{ offence }}.offence_on
        when 'registration' then {{ offence }}.registered_on
        else error('an outcome definition has a date basis that nobody computes')
    end
{%- endmacro %}
