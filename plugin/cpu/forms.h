/*
 * In which form a network for prediction, whose convolutions are oneDNN's, hands images on from
 * layer to layer: channels last where all who read them can take that, so that nothing has to
 * bring them into another form and back.
 */
#ifndef KD_FORMS_H
#define KD_FORMS_H

#include "cpu/convolution_code.h"

#include "darknet.h"

/* A layer that convolution.h computes */
int is_convolution(layer l);

/* A [shortcut] of two equal shapes */
int is_sum(layer l);

/* forms[net->n], of each layer's output: of a convolution, or of a sum of such, FORM_LAST if
 * only convolutions and sums read it, and FORM_NARROW if only convolutions do; else FORM_PLAIN.
 */
void find_forms(const network *net, image_form *forms);

#endif
